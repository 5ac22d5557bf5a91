"""Checks of the process itself: versions, what has to be installed, memory, forks, hooks and keys."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from importlib.util import find_spec
from platform import python_implementation, python_version

from offload_backend import __version__
from offload_backend.crypto import Keyring
from offload_backend.diagnosis.finding import Finding, SkippedError, Status, failed, ok, warn
from offload_backend.lifecycle.hooks import ENTRY_POINTS, load_hooks
from offload_backend.location import parse_location
from offload_backend.memorylimit import memory_limit
from offload_backend.settings import Settings
from offload_backend.settings.keyplaces import key_places

__all__ = ["about_extras", "about_forks", "about_hooks", "about_keys", "about_memory", "about_versions"]

_DISTRIBUTION = "offload-backend"
_AIRFLOW = ("apache-airflow-core", "apache-airflow-task-sdk", "apache-airflow-providers-amazon")
_LIBRARIES = ("boto3", "s3fs", "fsspec", "SQLAlchemy", "pydantic", "zstandard", "blake3", "cryptography")
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*>=\s*(?P<least>[0-9.]+)")
_BUFFERED = 4
"""Times the parts in flight: what a process should have, for interpreter and value are beside them."""


def about_versions() -> Iterator[Finding]:
    """What is installed, and whether any of it is older than this package needs."""
    try:
        needs = [_REQUIREMENT.match(text) for text in requires(_DISTRIBUTION) or ()]
    except PackageNotFoundError:
        yield Finding(
            Status.UNKNOWN, "the package is not installed, only on the path", "what it needs is not known"
        )
        needs = []
    yield ok(f"{_DISTRIBUTION} {__version__}, {python_implementation()} {python_version()}")
    for names in (_AIRFLOW, _LIBRARIES):
        shown = ", ".join(f"{name} {found}" for name in names if (found := _version(name)))
        yield ok(shown or "no Airflow")
    for need in filter(None, needs):
        found = _version(need["name"])
        if found and _numbers(found) < _numbers(need["least"]):
            yield failed(
                f"{need['name']} {found} is older than {need['least']}",
                "this package is not tested with it, and uses what it may not have",
                f"pip install '{need['name']}>={need['least']}' where tasks run",
            )


def about_extras(settings: Settings, core_store: str) -> Iterator[Finding]:
    """That what the configuration needs is installed. ``core_store`` is the kind of the rows and its driver."""
    missing = [need for need in _needs(settings, core_store) if find_spec(need[0]) is None]
    for module, what, why in missing:
        yield failed(
            f"{module} is not installed", f"it is needed for {why}", f"pip install '{what}' where tasks run"
        )
    if not missing:
        names = sorted({module for module, _, _ in _needs(settings, core_store)})
        yield ok(f"{', '.join(names) or 'nothing more'} needed by this configuration, and there")


def about_memory(settings: Settings) -> Iterator[Finding]:
    """How much a value may take here, and whether the parts of an upload have room."""
    limit = memory_limit()
    if limit is None:
        yield Finding(Status.UNKNOWN, "the system does not tell how much memory there is")
        return
    flight = (settings.concurrency + 1) * settings.part_size
    if limit < _BUFFERED * flight:
        yield warn(
            f"this process may have {limit:,} bytes of memory; parts in flight alone take {flight:,}",
            "a large value may end the task for want of memory",
            "give the worker more, or lower [offload_backend] part_size or concurrency",
        )
    else:
        most = min(limit, settings.max_value_bytes)
        yield ok(
            f"this process may have {limit:,} bytes of memory", f"a value of more than {most:,} bytes is refused"
        )


def about_forks() -> Iterator[Finding]:
    """That Airflow can fork its task processes here."""
    if not hasattr(os, "fork"):
        yield failed("this system cannot fork", "Airflow's workers do not run here", "run them on Linux or macOS")
    elif sys.platform == "darwin" and os.environ.get("no_proxy") != "*":
        yield warn(
            "this is macOS, and no_proxy is not '*'",
            "who asks the system for its proxies after a fork may be killed without a word",
            "export no_proxy='*' before the worker starts",
        )
    else:
        yield ok("task processes can be forked; each makes connections of its own")


def about_hooks(settings: Settings) -> Iterator[Finding]:
    """That the hooks can be made."""
    load_hooks(settings)
    packages = sorted(point.name for point in entry_points(group=ENTRY_POINTS))
    yield ok(f"hooks: {settings.hooks or 'none set'}; of installed packages: {', '.join(packages) or 'none'}")


def about_keys(settings: Settings) -> Iterator[Finding]:
    """That each key can be had, and opens what it closed."""
    named = {"encryption_keys": settings.encryption_keys, "signing_keys": settings.signing_keys}
    if not any(named.values()):
        raise SkippedError("neither encryption_keys nor signing_keys are set")
    for setting, entries in named.items():
        for place, entry in zip(key_places(entries), entries, strict=True):
            keyring = Keyring(setting, [entry], settings)
            key_id, secret = keyring.to_write()
            signs = setting == "signing_keys"
            kept = secret.key in keyring.to_read(key_id, secret.wrapped) and not (signs and secret.wrapped)
            what = f"the key {place.id!r} of {setting}, from {place.kind}"
            if kept:
                yield ok(f"{what}: usable")
            else:
                yield failed(
                    f"{what}: does not give again what it gave",
                    "what is written with it cannot be read",
                    "correct the class behind it",
                )


def _needs(settings: Settings, core_store: str) -> Iterator[tuple[str, str, str]]:
    """Modules, what to install for each, and what for."""
    for scheme in _schemes((settings.path, *settings.read_paths)):
        if scheme == "s3":
            yield "boto3", "offload-backend[s3]", "s3:// paths"
            if settings.transport == "fsspec":
                yield "s3fs", "offload-backend[s3]", "transport = fsspec"
        if scheme == "gs":
            yield "gcsfs", "offload-backend[gcs]", "gs:// paths"
        if scheme == "abfs":
            yield "adlfs", "offload-backend[azure]", "abfs:// paths"
    if settings.encryption_keys:
        yield "cryptography", "offload-backend[encryption]", "encryption_keys"
    if any(place.kind == "kms" for place in key_places(settings.encryption_keys)):
        yield "boto3", "offload-backend[s3]", "keys of AWS KMS"
    if core_store == "postgresql":
        yield "psycopg", "offload-backend[postgres]", "rows in PostgreSQL"
    if core_store == "rest":
        yield "httpx", "offload-backend[rest]", "rows behind Airflow's API"


def _schemes(paths: Sequence[str]) -> set[str]:
    return {parse_location(path).scheme for path in paths if path}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers a version begins with; what comes before a release counts as the release."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[a-zA-Z+]", text, maxsplit=1)[0]))
