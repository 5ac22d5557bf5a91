"""Port: what is asked of a bucket beside its blobs. The adapter is ``stores/s3_bucket.py``; tasks never ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = ["Bucket", "Identity", "LifecycleRule", "Upload"]


@dataclass(frozen=True)
class Identity:
    """Who the store takes the caller for: the ``arn``, and the place where botocore found the credentials."""

    arn: str
    source: str


@dataclass(frozen=True)
class LifecycleRule:
    """A rule that is enabled, for objects whose keys start with ``prefix``.

    ``tagged``: only for objects that have certain tags; ``sized``: only for some sizes. ``expires`` is what it does
    to a current object in words, such as ``after 30 days``, and ``expire_days`` when, if it counts days.
    ``archives`` is the class from which objects have to be restored before they can be read, if it moves any there.
    ``noncurrent_days`` and ``abort_days`` are ``None`` where the rule does neither.
    """

    id: str
    prefix: str
    tagged: bool = False
    sized: bool = False
    expires: str = ""
    expire_days: int | None = None
    archives: str = ""
    noncurrent_days: int | None = None
    abort_days: int | None = None


@dataclass(frozen=True)
class Upload:
    """A multipart upload that has neither been completed nor aborted; ``name`` is relative to the location."""

    name: str
    id: str
    initiated: datetime


class Bucket(Protocol):
    """The bucket of one location. Nothing here changes its configuration.

    Every method raises :class:`~offload_backend.errors.StoreError` when the store refuses or fails; the hint of one
    that is ``denied`` names the right.
    """

    @property
    def name(self) -> str:
        """As the store calls it."""
        ...

    @property
    def prefix(self) -> str:
        """What the keys of the location begin with: empty, or with a slash at the end."""
        ...

    def identity(self) -> Identity:
        """Who asks."""
        ...

    def versioning(self) -> str:
        """``Enabled``, ``Suspended``, or empty where it never was on."""
        ...

    def rules(self) -> list[LifecycleRule]:
        """The lifecycle rules that are enabled."""
        ...

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Unfinished multipart uploads of objects whose names start with ``prefix``."""
        ...

    def uploaded(self, upload: Upload) -> int:
        """Bytes of the upload's parts."""
        ...

    def abort(self, upload: Upload) -> None:
        """Remove the upload and its parts; one that is gone is done."""
        ...

    def require_abort(self, name: str) -> None:
        """Raise unless an upload to this name might be aborted. There is none, and nothing changes."""
        ...

    def now(self) -> datetime:
        """The time by the store's clock, to the second."""
        ...
