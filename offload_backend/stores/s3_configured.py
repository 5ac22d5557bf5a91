"""What options, environment and AWS's own files say about S3, read as botocore reads them but without importing it.

Whatever is not plain gives ``None``, and then boto3 does the work: it knows dualstack, FIPS, accelerated and
virtual addressing, service sections and much else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offload_backend.stores.s3_client import sorted_options
from offload_backend.stores.s3_signing import Credentials

__all__ = ["Configured", "configured"]

_UNUSUAL = (
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_SIGV4A_SIGNING_REGION_SET",
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
)
_UNDERSTOOD = frozenset({"region", "endpoint_url", "ca_bundle", "request_checksum_calculation"})
_NOT_ABOUT_REQUESTS = frozenset(
    {
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_security_token",
        "aws_session_token",
        "credential_process",
        "credential_source",
        "duration_seconds",
        "external_id",
        "max_attempts",
        "metadata_service_num_attempts",
        "metadata_service_timeout",
        "mfa_serial",
        "output",
        "response_checksum_validation",
        "retry_mode",
        "role_arn",
        "role_session_name",
        "source_profile",
        "sso_account_id",
        "sso_region",
        "sso_role_name",
        "sso_session",
        "sso_start_url",
        "sts_regional_endpoints",
        "web_identity_token_file",
    }
)


@dataclass(frozen=True)
class Configured:
    """What is configured. ``region`` and ``endpoint_url`` may be empty.

    ``verify`` is as boto3 takes it: whether certificates are checked, or by which file or directory.
    ``credentials`` are the static ones, if there are any; ``profile`` is the one that an option names.
    """

    endpoint_url: str
    region: str
    verify: bool | str
    profile: str
    credentials: Credentials | None
    checksums: bool


def configured(options: Mapping[str, Any]) -> Configured | None:
    """The configuration, or ``None`` where botocore had better be asked, be it only for its error message."""
    session, client = sorted_options(options)
    texts = {name: value for name, value in {**session, **client}.items() if value is not None}
    verify = texts.pop("verify", None)
    environment = os.environ
    if not all(isinstance(value, str) for value in texts.values()) or not isinstance(verify, bool | str | None):
        return None
    if any(environment.get(name, "").lower() not in ("", "false") for name in _UNUSUAL):
        return None
    profile = texts.get("profile_name", "")
    section = _profile(profile or environment.get("AWS_DEFAULT_PROFILE") or environment.get("AWS_PROFILE") or "")
    checksums = environment.get("AWS_REQUEST_CHECKSUM_CALCULATION") or (section or {}).get(
        "request_checksum_calculation", "when_supported"
    )
    if section is None or checksums.lower() not in ("when_supported", "when_required"):
        return None
    keys = [texts.get(f"aws_{name}", "") for name in ("access_key_id", "secret_access_key", "session_token")]
    if any(keys) and not all(keys[:2]):
        return None
    if verify is None:
        bundle = environment.get("AWS_CA_BUNDLE") or section.get("ca_bundle")
        verify = bundle or environment.get("REQUESTS_CA_BUNDLE") or True
    from_environment = None if profile else _environment_credentials()
    return Configured(
        texts.get("endpoint_url")
        or environment.get("AWS_ENDPOINT_URL_S3")
        or environment.get("AWS_ENDPOINT_URL")
        or section.get("endpoint_url", ""),
        texts.get("region_name") or environment.get("AWS_DEFAULT_REGION") or section.get("region", ""),
        verify,
        profile,
        Credentials(*keys) if keys[0] else from_environment,
        checksums.lower() == "when_supported",
    )


def _environment_credentials() -> Credentials | None:
    """Those of the environment, unless they expire: botocore knows how to renew such."""
    environment = os.environ
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret or environment.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    token = environment.get("AWS_SECURITY_TOKEN") or environment.get("AWS_SESSION_TOKEN") or ""
    return Credentials(key, secret, token)


def _profile(name: str) -> dict[str, str] | None:
    """The profile's entries in both of AWS's files; ``None`` if it is missing, or holds what is not plain."""
    environment = os.environ
    config = _sections(environment.get("AWS_CONFIG_FILE") or "~/.aws/config")
    secrets = _sections(environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")
    if config is None or secrets is None:
        return None
    wanted = name or "default"
    titles = (f"profile {wanted}", wanted) if wanted == "default" else (f"profile {wanted}",)
    found = [config[title] for title in titles if title in config]
    found += [secrets[wanted]] if wanted in secrets else []
    entries: dict[str, str] = {}
    for section in found:
        entries |= section
    missing = bool(name) and not found
    strange = entries.keys() - _UNDERSTOOD - _NOT_ABOUT_REQUESTS
    if missing or any(not entry.startswith("cli_") for entry in strange):
        return None
    return entries


def _sections(path: str) -> dict[str, dict[str, str]] | None:
    """The sections of a file, none if there is no such file; ``None`` if it cannot be read."""
    file = Path(os.path.expandvars(path)).expanduser()
    if not file.is_file():
        return {}
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(default_section="")  # as for botocore, no section's entries are those of all
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (Error, OSError, UnicodeDecodeError):
        return None
    titles = {title: " ".join(title.replace('"', " ").replace("'", " ").split()) for title in parser.sections()}
    return {plain: dict(parser.items(title)) for title, plain in titles.items()}
