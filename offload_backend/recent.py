"""What the frames of the last blobs were, so that the next one of a key need not send again what is the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from offload_backend.blobfile.frames import Frame
from offload_backend.blobstore import Stretch
from offload_backend.knownrefs import Row

__all__ = ["RecentBlob", "RecentBlobs"]

LIMIT = 16
WORTH = 5 * 1024 * 1024
"""Bytes, of a blob or of neighbouring frames: S3 copies nothing smaller into a part of another object."""


@dataclass(frozen=True)
class RecentBlob:
    """A stored blob, and at which of its bytes a frame with a digest begins."""

    name: str
    starts: dict[bytes, list[int]]

    def stretches(self, frames: Iterable[Frame]) -> Iterator[Stretch]:
        """The frames of a new blob, each with the place where this one has the same bytes, if it has."""
        expected = -1
        for frame in frames:
            starts = self.starts.get(frame.digest, ())
            # Equal frames may stand in several places; a neighbour of the last one makes a longer copy.
            offset = expected if expected in starts else next(iter(starts), None)
            yield Stretch(frame.buffers, frame.size, offset)
            expected = -1 if offset is None else offset + frame.size


class RecentBlobs:
    """The last blob that this process wrote or read, for each of the last :data:`LIMIT` rows. For any thread.

    Blobs never change, so what is known of one stays true, also after a fork; it may be gone.
    """

    def __init__(self) -> None:
        # No lock: a fork could happen while another thread holds it. Each step below is atomic by itself.
        self._blobs: OrderedDict[Row, RecentBlob] = OrderedDict()

    def of(self, row: Row) -> RecentBlob | None:
        """The row's last blob, if it was large enough to be of use."""
        return self._blobs.get(row)

    def remember(self, row: Row, name: str, frames: Iterable[tuple[bytes, int, int]]) -> None:
        """The row's last blob: the digest, the size and the start of each frame."""
        starts: dict[bytes, list[int]] = {}
        end = 0
        for digest, size, start in frames:
            starts.setdefault(digest, []).append(start)
            end = max(end, start + size)  # threads read frames in any order
        self._blobs.pop(row, None)
        if end >= WORTH:
            self._blobs[row] = RecentBlob(name, starts)
        with suppress(KeyError):
            while len(self._blobs) > LIMIT:
                self._blobs.popitem(last=False)
