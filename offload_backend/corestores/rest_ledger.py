"""The collector's ledger in an Airflow Variable, through the REST API."""

from __future__ import annotations

import hashlib
import json
import re
from http import HTTPStatus
from typing import Any

from offload_backend.corestores.rest_client import Answer, RestClient
from offload_backend.errors import CoreStoreError
from offload_backend.rootsource import Ledger

__all__ = ["RestLedger", "variable_key"]

FORMAT = 1
_PATH = "/api/v2/variables"
# Airflow shows "***" for the value of a Variable whose key holds one of these.
_MASKED = re.compile(
    "access_token|api_?key|authorization|passphrase|passwd|password|private_key|proxies|secret|token"
    "|keyfile_dict|service_account",
    re.IGNORECASE,
)
_PERMISSION = (
    "give the collector's account the permission to read, create and edit Variables: the role Op, or can_read, "
    "can_create and can_edit on Variables"
)


class RestLedger:
    """Reads and writes the Variable; raises :class:`~offload_backend.errors.CoreStoreError` if it may not."""

    def __init__(self, client: RestClient, deployment: str) -> None:
        self._client = client
        self._deployment = deployment
        self.key = variable_key(deployment)

    def read(self) -> Ledger | None:
        """The ledger, or ``None`` if Airflow says that there is no such Variable."""
        answer = self._client.get(f"{_PATH}/{self.key}")
        if answer.denies(self.key):
            return None
        self._require(answer, HTTPStatus.OK)
        return self._parsed(answer.body)

    def write(self, ledger: Ledger) -> None:
        """Write it, and see by reading that it stands there; a sequence lower than the one there is refused."""
        before = self.read()
        if before is not None and before.sequence > ledger.sequence:
            raise self._trouble(
                f"the ledger is at run {before.sequence} and does not go back to run {ledger.sequence}",
                "another collector works on this deployment; see that there is only one",
            )
        value = json.dumps(
            {
                "offload_collector": FORMAT,
                "deployment": self._deployment,
                "sequence": ledger.sequence,
                "canary": ledger.canary,
            }
        )
        self._store(value, exists=before is not None)
        if self.read() != ledger:
            raise self._trouble(
                "the ledger is not what was just written", "another collector works on this deployment"
            )

    def _store(self, value: str, *, exists: bool) -> None:
        body: dict[str, Any] = {"key": self.key, "value": value}
        if exists:
            answer = self._client.send("PATCH", f"{_PATH}/{self.key}", body)
            return self._require(answer, HTTPStatus.OK)
        body["description"] = f"Garbage collector of offload_backend, deployment {self._deployment}: do not edit"
        return self._require(self._client.send("POST", _PATH, body), HTTPStatus.CREATED)

    def _parsed(self, variable: Any) -> Ledger:
        text = variable.get("value") if isinstance(variable, dict) and variable.get("key") == self.key else None
        try:
            value = json.loads(text or "")
            ledger = Ledger(value["sequence"], value["canary"])
            known = (value["offload_collector"], value["deployment"]) == (FORMAT, self._deployment)
        except (ValueError, TypeError, KeyError):
            known = False
        if not known or type(ledger.sequence) is not int or not isinstance(ledger.canary, str):
            raise self._trouble(
                f"the Variable {self.key} does not hold the collector's ledger, or Airflow masks its value",
                "if [core] sensitive_var_conn_names names a part of this key, remove it there; if somebody edited "
                "the Variable, delete it and run: offload gc adopt",
            )
        return ledger

    def _require(self, answer: Answer, status: HTTPStatus) -> None:
        if answer.status == status:
            return
        if answer.status == HTTPStatus.FORBIDDEN:
            raise self._trouble(f"the account may not use the Variable {self.key}", _PERMISSION)
        raise self._trouble(f"the API refuses the Variable {self.key}: {answer}", _PERMISSION)

    def _trouble(self, what: str, hint: str) -> CoreStoreError:
        return CoreStoreError(what, hint=hint, location=self._client.url)


def variable_key(deployment: str) -> str:
    """The Variable's key: readable, unless Airflow would then mask the value."""
    if not _MASKED.search(deployment):
        return f"offload_collector_{deployment}"
    return f"offload_collector_{hashlib.sha256(deployment.encode()).hexdigest()[:16]}"
