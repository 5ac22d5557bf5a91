"""Checks of where blobs are: the configured path, those that may be read, and whether the clocks agree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from offload_backend.address import new_blob_id
from offload_backend.diagnosis.access import Moments, Probe
from offload_backend.diagnosis.case import Case
from offload_backend.diagnosis.finding import Finding, Fix, SkippedError, Status, failed, ok, warn
from offload_backend.durations import format_duration
from offload_backend.errors import BlobNotFoundError, ConfigError, OffloadError, StoreError
from offload_backend.lifecycle.preflight import skew_of
from offload_backend.location import location_of, parse_location

__all__ = ["about_path", "about_read_paths", "about_store_clock", "skew"]

_SECOND = timedelta(seconds=1)
_IN_A_TASK = (
    "outside a task, connections come from the environment, a secrets backend or Airflow's database, and that was "
    "not reached; tasks may well have it from the API server"
)
_EXAMINE_IN_A_TASK = "run this where the database can be reached, or in a task: docs/doctor.md"


def about_path(case: Case) -> Iterator[Finding]:
    """That a path is set and can be opened, with its connection, if it names one."""
    path = case.settings.path
    case.reopen("path")  # as --fix looks twice
    if not path:
        case.close("path", "no path is set")
        raise ConfigError(
            "no location for blobs is configured",
            hint="set [offload_backend] path, for example path = s3://conn_id@bucket/airflow-state "
            "(environment: AIRFLOW__OFFLOAD_BACKEND__PATH)",
        )
    try:
        location = case.store().location
    except OffloadError as error:
        names_connection = "@" in path.partition("://")[2].partition("/")[0]
        if not names_connection or case.rows_reached:
            raise
        yield Finding(Status.UNKNOWN, error.message, _IN_A_TASK, f"{_EXAMINE_IN_A_TASK}; else: {error.hint}")
        return
    url = parse_location(path)
    by = f", by the connection {url.user!r}" if url.user else ""
    yield ok(f"{location}{by}")
    if url.scheme == "file":
        yield from _about_directory(case, Path(f"/{url.path}"))
    elif url.scheme == "memory":
        yield warn(
            "memory:// ends with the process",
            "no other process sees what one has stored: no task can read its own state after a retry",
            "set [offload_backend] path to a place that lasts",
        )
    elif not url.path:
        yield warn(
            f"{location} is a whole bucket",
            "offload gc refuses to work on it (location)",
            "set [offload_backend] path to a prefix of its own, and the bucket in read_paths",
        )


def _about_directory(case: Case, directory: Path) -> Iterator[Finding]:
    if directory.is_dir():
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            yield failed(f"{directory} may not be read and written by this user", "", "give this user the right")
        return
    case.close("path", f"{directory} is no directory")  # a probe would make it
    if directory.exists():
        yield failed(f"{directory} is no directory", "nothing can be stored", "correct [offload_backend] path")
        return

    def make() -> str:
        directory.mkdir(parents=True)
        return f"{directory} made"

    yield warn(
        f"{directory} is not there",
        "the first set makes it. If a file system should be mounted there, each machine writes to its own disk",
        "mount it; or offload doctor --fix makes an empty directory",
        fix=Fix(f"make {directory}", make),
    )


def about_read_paths(case: Case) -> Iterator[Finding]:
    """That the other locations whose refs may be read can be asked for a blob."""
    if not case.settings.read_paths:
        raise SkippedError("none are set")
    for path in case.settings.read_paths:
        yield _about_read_path(case, path)


def _about_read_path(case: Case, path: str) -> Finding:
    location = location_of(path)
    try:
        case.open_store(path).get_range(case.layout.probe(new_blob_id()), 0, 1)
    except BlobNotFoundError:
        return ok(f"{location} answers")
    except StoreError as error:
        if error.reason == "denied":
            # S3 says the same of a blob that is not there, to who may not list.
            means = "either nothing may be read there, or s3:ListBucket is missing, and then only a blob can tell"
            return Finding(Status.UNKNOWN, f"{location}: {error.message}", means, error.hint)
        return failed(f"{location}: {error.message}", "refs to it cannot be read", error.hint)
    except OffloadError as error:
        return failed(f"{location}: {error.message}", "refs to it cannot be read", error.hint, setting=True)
    return ok(f"{location} answers")


def about_store_clock(case: Case, probe: Probe) -> Iterator[Finding]:
    """That this machine's clock and the store's agree: by the probe's date, or that of an answer."""
    case.require("path")
    moments = probe.moments() or _dated(case)
    yield skew(
        case, *moments, of="the store's", rule="offload gc refuses (clock-skew); S3 refuses beyond 15 minutes"
    )


def _dated(case: Case) -> Moments:
    try:
        bucket = case.bucket()
    except SkippedError:
        raise SkippedError("the store tells no time without a listed probe") from None
    before = datetime.now(timezone.utc)
    return Moments(before, bucket.now(), datetime.now(timezone.utc))


def skew(case: Case, before: datetime, then: datetime, after: datetime, *, of: str, rule: str) -> Finding:
    """What two clocks make of one moment; stores tell theirs to the second."""
    apart, limit = skew_of(before - _SECOND, then, after), case.settings.gc_max_skew
    if abs(apart) <= limit:
        return ok(f"agrees with {of}" if not apart else f"{format_duration(abs(apart))} apart from {of}")
    where = "ahead of" if apart > timedelta(0) else "behind"
    return failed(
        f"this machine's clock is {format_duration(abs(apart))} {where} {of}",
        f"more than gc_max_skew, {format_duration(limit)}: {rule}",
        "set the clock, and let NTP keep it; or raise [offload_backend] gc_max_skew",
    )
