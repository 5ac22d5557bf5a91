"""Checks of what these credentials may do with blobs, by a probe: put, get, a range, list, delete."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from offload_backend.address import new_blob_id
from offload_backend.blobstore import BlobInfo, delete_told
from offload_backend.diagnosis.case import Case
from offload_backend.diagnosis.finding import Finding, Fix, SkippedError, amount, failed, ok, warn
from offload_backend.errors import OffloadError, StoreError

__all__ = ["Moments", "Probe"]

SIZE = 4096
_BODY = b'{"offload_probe":1}'.ljust(SIZE - 1) + b"\n"
_START, _LENGTH = 1000, 500
_OLD = timedelta(hours=1)
_NEVER = "[offload_backend] reclaim is never: no task deletes. The operator's commands do"
_EAGER = "what tasks delete or overwrite stays until the collector takes it"


class Moments(NamedTuple):
    """When something happened, by the store's clock, and this machine's time before and after it."""

    before: datetime
    then: datetime
    after: datetime


class Probe:
    """One small object, put below the collector's own prefix, where nothing takes it for a blob.

    The checks are made in the order of the methods; what needs the object is skipped where it could not be put.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._name = case.layout.probe(new_blob_id())
        self._may_be_there = False
        self._put: tuple[datetime, datetime] | None = None
        self._listed: BlobInfo | None = None

    def put(self) -> Iterator[Finding]:
        """Needed by every ``set``."""
        with self._asking():
            store, before = self._case.store(), _now()
            self._may_be_there = True
            store.put(self._name, [_BODY])
            self._put = before, _now()
        yield ok(f"{SIZE:,} bytes put")

    def get(self) -> Iterator[Finding]:
        """Needed by every ``get``."""
        yield self._read(lambda: b"".join(self._case.store().get(self._name)), _BODY)

    def get_range(self) -> Iterator[Finding]:
        """Needed by a ``get`` of more than 32 MiB, and by ``open_value``."""
        wanted = _BODY[_START : _START + _LENGTH]
        yield self._read(lambda: self._case.store().get_range(self._name, _START, _LENGTH), wanted)

    def list_names(self) -> Iterator[Finding]:
        """Needed by the operator's commands alone."""
        try:
            with self._asking():
                found = {info.name: info for info in self._case.store().list(self._case.layout.probe())}
        except StoreError as error:
            if error.reason != "denied":
                raise
            yield warn(
                error.message,
                "tasks never list, and do without it; offload gc, expire, erase, rekey and verify do not. S3 then "
                "calls a blob that is missing forbidden",
                error.hint,
            )
            return
        self._listed = found.pop(self._name, None)
        if self._put is None:
            yield ok("granted")
        elif self._listed is None:
            yield failed(
                "the probe that was just put is not listed",
                "the collector relies on complete listings, and refuses where its own canary is missing",
                "look for a cache or a proxy between here and the store",
            )
        else:
            yield ok("the probe is listed")
        yield from self._left_behind(found)

    def delete(self) -> Iterator[Finding]:
        """Needed to give space back. A name that is not there asks for the same right."""
        with self._asking():
            failures = self._case.store().delete([self._name]).failed
        if not failures:
            self._may_be_there = False
            yield ok("the probe is gone" if self._put else "granted")
            return
        never = self._case.settings.reclaim == "never"
        seen = f"not deleted: {failures[self._name]}"
        means = f"{_NEVER if never else _EAGER}" + (f". The probe stays: {self._name}" if self._put else "")
        mend = "let an operator run offload doctor --fix an hour from now, which removes probes"
        grant = "grant the right to delete (s3:DeleteObject), or set [offload_backend] reclaim = never"
        yield ok(seen, means) if never else warn(seen, means, f"{grant}; {mend}")

    def remove(self) -> None:
        """Leave nothing behind, whatever became of the checks."""
        if self._may_be_there:
            with contextlib.suppress(OffloadError, SkippedError):
                delete_told(self._case.store().delete, [self._name])

    def moments(self) -> Moments | None:
        """When the probe was put, by both clocks; ``None`` where it was not put or not listed."""
        if self._put is None or self._listed is None:
            return None
        return Moments(self._put[0], self._listed.modified, self._put[1])

    def _read(self, read: Callable[[], bytes], wanted: bytes) -> Finding:
        if self._put is None:
            raise SkippedError("there is no probe to read")
        with self._asking():
            found = read()
        if found == wanted:
            return ok(f"{len(found):,} bytes as they were put")
        return failed(
            f"{len(found):,} bytes came back that are not the {len(wanted):,} that were put",
            "a get notices this and raises BlobCorruptError",
            "look for a cache or a proxy between here and the store, and at what the store does with ranges",
        )

    def _left_behind(self, found: dict[str, BlobInfo]) -> Iterator[Finding]:
        """What runs that were killed, or could not delete, have left; another that runs now has a young one."""
        newest = max((info.modified for info in found.values()), default=_now())
        now = self._listed.modified if self._listed else max(newest, _now())
        old = [name for name, info in found.items() if info.modified < now - _OLD]
        if old:
            yield warn(
                f"{amount(len(old), 'probe')} of earlier runs of this command",
                "left behind, and of no use to anybody",
                "offload doctor --fix",
                fix=Fix(f"delete {amount(len(old), 'old probe')}", lambda: self._deleted(old)),
            )

    def _deleted(self, names: list[str]) -> str:
        report = delete_told(self._case.store().delete, names)
        rest = f"; {len(report.failed):,} could not be: {min(report.failed.values())}" if report.failed else ""
        return f"{amount(len(report.deleted), 'old probe')} deleted{rest}"

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self._case.gave_up(error)
            raise


def _now() -> datetime:
    return datetime.now(timezone.utc)
