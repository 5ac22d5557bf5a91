"""Whom to believe: keys for blobs and refs, and whose refs resolve for whom."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator

from offload_backend.settings.keyplaces import key_places

__all__ = ["TrustSettings"]


class TrustSettings(BaseModel):
    """Settings that have to do with keys, signatures and isolation."""

    isolation: Literal["state", "deployment"] = Field(
        "state",
        description="Whose refs resolve. state: only those of the task, the assets or, without Airflow, the key "
        "that asks, as far as Airflow tells. deployment: all of the deployment, whichever row they are copied to.",
        examples=["deployment"],
    )
    encryption_keys: tuple[str, ...] = Field(
        (),
        description="Keys for blobs, as <id>=<source>, separated by white space: the first encrypts, all decrypt. "
        "A source says where 32 bytes in base64 or hexadecimal are: env:VARIABLE, file:/path, fernet ([core] "
        "fernet_key), or who gives them: kms:<key id, alias or arn> of AWS, class:dotted.path. When empty, nothing "
        "is encrypted here. What stays in a row never is.",
        examples=["k1=env:OFFLOAD_ENCRYPTION_KEY"],
    )
    unencrypted_blobs: Literal["accept", "refuse"] = Field(
        "accept",
        description="With encryption_keys, what to do with blobs that are not encrypted. refuse: once none is "
        "left. Until then, who can write rows and blobs can put such a one in an encrypted one's place.",
        examples=["refuse"],
    )
    signing_keys: tuple[str, ...] = Field(
        (),
        description="Keys for the signatures of refs, as <id>=<source>, separated by white space: the first signs, "
        "all verify. A source says where 32 bytes in base64 or hexadecimal are: env:VARIABLE, file:/path, fernet "
        "([core] fernet_key) or class:dotted.path. When empty, nothing is signed.",
        examples=["s1=env:OFFLOAD_SIGNING_KEY"],
    )
    unsigned_refs: Literal["refuse", "accept"] = Field(
        "refuse",
        description="With signing_keys, what to do with refs that nobody has signed, those of Airflow's own "
        "backend among them. accept: read them, as long as rows from before signing_keys are left; until then a "
        "signature protects nothing, for it can be left out.",
        examples=["accept"],
    )

    @field_validator("encryption_keys", "signing_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("encryption_keys", "signing_keys")
    @classmethod
    def _each_key(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        key_places(values)
        return values

    @field_validator("signing_keys")
    @classmethod
    def _none_of_a_service(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if any(place.kind == "kms" for place in key_places(values)):
            raise ValueError("kms: keys encrypt and do not sign; use env:, file:, fernet or class:")
        return values
