"""Blobs in any filesystem that fsspec knows."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from offload_backend.blobstore import BlobInfo, Buffer, DeleteReport
from offload_backend.errors import BlobCorruptError, BlobNotFoundError, OffloadError, StoreError
from offload_backend.location import checked_name, checked_prefix
from offload_backend.stores.deleting import failed_deletes
from offload_backend.stores.fsspec_errors import fsspec_errors, is_past_end, never_answered
from offload_backend.stores.fsspec_listing import as_moment, files_below, moment_of, protocols_of, version_of
from offload_backend.stores.parts import parts_of
from offload_backend.stores.patience import FOR_A_DELETE, OutOfPatienceError, Patience, allowed_seconds, within
from offload_backend.stores.unchanged import is_written_once, read_unchanged

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["FsspecBlobStore"]

PART_SIZE = 8 * 1024 * 1024
GIVE_UP_AFTER = 180.0
_DISCARD_SECONDS = 10.0
_REMEMBERED = 64
_log = logging.getLogger(__name__)

# Here nothing has to be made before a blob (and s3fs would make a bucket), and a blob appears whole
# when its writer is closed.
_OBJECT_STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "ocilake", "oss", "obs", "cos", "tos", "memory"}
)
# A range of theirs is one request, and so of one version. Other drivers ask for the size first, or open a file.
_READ_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
_GCSFS_BOUNDARY = (
    b"--==0=="  # between the parts of the one request in which gcsfs sends a small blob, whatever it holds
)


class FsspecBlobStore:
    """A blob store over an fsspec filesystem, which should be a fresh one without listing cache.

    On object stores a blob appears whole or not at all. On other filesystems (SFTP, SMB, HDFS …) it is
    written in place: an error removes it, but a killed process leaves a part under a name to which no
    row refers. Blobs of more than ``part_size`` bytes are written one part after the other.

    Drivers repeat what they think fit. None is waited for longer than ``give_up_after`` seconds, for each 8 MiB of
    a part and each block that is read; only ``list`` takes as long as it takes.
    """

    def __init__(
        self,
        location: str,
        filesystem: AbstractFileSystem,
        part_size: int = PART_SIZE,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        self._location = location
        self._filesystem = filesystem
        root = filesystem._strip_protocol(location)  # noqa: SLF001 - the hook by which drivers name their root
        self._root = str(root).rstrip("/")
        protocols = protocols_of(filesystem)
        self._keeps_objects = bool(protocols & _OBJECT_STORES)
        self._reads_at_once = bool(protocols & _READ_AT_ONCE)
        self._is_google = bool(protocols & {"gs", "gcs"})
        # fsspec's memory files are visible as soon as they are opened: there, one call has to do.
        self._part_size = 1 << 62 if "memory" in protocols else part_size
        self._block = part_size
        self._give_up_after = give_up_after
        self._sized: tuple[tuple[str, int], ...] = ()

    @property
    def location(self) -> str:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        return self._location

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        path = self._path(name)
        parts = (b"".join(part) for part in parts_of(chunks, self._part_size))
        first = next(parts, b"")
        second = next(parts, None)
        if not self._keeps_objects:
            folder = path.rpartition("/")[0]
            self._ask("put", name, lambda: self._filesystem.makedirs(folder, exist_ok=True))
        try:
            if second is None and not (self._is_google and _GCSFS_BOUNDARY in first):
                self._ask("put", name, lambda: self._filesystem.pipe_file(path, first), len(first))
            else:
                self._write(name, path, chain((first, second or b""), parts))
        except BaseException:
            self._remove_partial(path)
            raise

    def get(self, name: str) -> Iterator[bytes]:
        """See :class:`~offload_backend.blobstore.BlobStore`.

        What others may overwrite is one request as long as it is no longer than ``part_size``; then its first block
        is asked for twice, and its version at both ends. Where the driver knows none, it is read twice.
        """
        if is_written_once(name):
            yield from self._blocks(name)
            return
        if self._reads_at_once:
            whole = self._read(name, 0, self._block + 1)
            if len(whole) <= self._block:
                yield from (whole,) if whole else ()
                return
            del whole
        location = f"{self._location}/{name}"
        yield from read_unchanged(partial(self._blocks, name), partial(self._version, name), location)

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        if start < 0 or length < 0:
            raise ValueError("start and length are not negative")
        # An empty range cannot be asked for everywhere; one byte also tells whether there is a blob.
        return self._read(name, start, max(length, 1))[:length]

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`.

        Drivers hand over bytes of their own, so everything is copied once, and asked for in blocks of
        ``part_size``. A stretch that ends with the blob proves ``total`` by itself, since one byte more is asked
        for; for any other, one small request is made first, unless this store knows already.
        """
        if start < 0:
            raise ValueError("start is not negative")
        to_the_end = start + len(buffer) == total
        if not (to_the_end and buffer):
            self._require_size(name, total)
        for offset in range(0, len(buffer), self._block):
            block = buffer[offset : offset + self._block]
            one_more = to_the_end and offset + len(block) == len(buffer)
            data = self._read(name, start + offset, len(block) + one_more)
            if len(data) != len(block):
                raise self._of_another_size(name, max(total, start + len(buffer)))
            block[:] = data
        self._remember_size(name, total)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        below, _, beginning = checked_prefix(prefix).rpartition("/")
        folder = "/".join(filter(None, (self._root, below)))
        start = self._root.lstrip("/")
        with self._translated("list", prefix):
            self._filesystem.invalidate_cache()
            found = files_below(self._filesystem, folder, beginning, keeps_objects=self._keeps_objects)
        for entry in found:
            path = str(entry["name"]).lstrip("/")
            if path == start:
                continue
            if not path.startswith(f"{start}/"):
                raise StoreError("the driver lists another place", reason="failed", location=self._location)
            name = path[len(start) + 1 :]
            if name.startswith(prefix):
                yield BlobInfo(name, int(entry["size"]), self._modified(entry))

    def delete(self, names: Sequence[str]) -> DeleteReport:
        """See :class:`~offload_backend.blobstore.BlobStore`.

        One by one: the bulk calls of drivers, s3fs's among them, do not say what they failed to delete.
        """
        wanted = tuple(dict.fromkeys(map(checked_name, names)))
        failed = failed_deletes(wanted, 1, self._delete_one)
        return DeleteReport(tuple(name for name in wanted if name not in failed), failed)

    def _write(self, name: str, path: str, parts: Iterator[bytes]) -> None:
        """Write part by part. Closing publishes, so a writer is only closed when all is written."""
        writer = self._ask("put", name, lambda: self._filesystem.open(path, "wb", block_size=self._part_size))
        try:
            for part in parts:
                # A write that is given up may yet begin an upload, which nobody would end.
                self._ask(
                    "put", name, partial(writer.write, part), len(part), if_left=lambda: self._discard(writer)
                )
            self._ask("put", name, writer.close, self._part_size)
        except BaseException:
            self._discard(writer)
            raise

    def _discard(self, writer: Any) -> None:
        """Give up a writer for good: no later ``close``, garbage collection included, may publish it."""
        from fsspec.spec import AbstractBufferedFile

        end = writer.close
        if isinstance(writer, AbstractBufferedFile):
            writer.closed = True
            end = writer.discard
        try:
            self._ask("put", getattr(writer, "path", ""), end, most=_DISCARD_SECONDS)
        except OffloadError as error:
            _log.warning("an unfinished upload stays behind: %s", error)

    def _remove_partial(self, path: str) -> None:
        if self._keeps_objects:
            return
        try:
            self._ask("delete", path, lambda: self._filesystem.rm_file(path), most=_DISCARD_SECONDS)
        except BlobNotFoundError:
            return
        except OffloadError as error:
            _log.warning("a part of a blob stays behind: %s", error)

    def _read(self, name: str, start: int, length: int) -> bytes:
        path = self._path(name)
        try:
            call = partial(self._filesystem.cat_file, path, start=start, end=start + length)
            data = bytes(self._ask("get", name, call, length))
        except StoreError as error:
            if is_past_end(error):
                return b""
            raise
        if len(data) > length:
            raise StoreError(
                "the driver ignores requests for a range", reason="failed", location=f"{self._location}/{name}"
            )
        return data

    def _blocks(self, name: str) -> Iterator[bytes]:
        """The bytes of what nobody writes meanwhile."""
        offset = 0
        while chunk := self._read(name, offset, self._block):
            yield chunk
            offset += len(chunk)
            if len(chunk) < self._block:
                return

    def _version(self, name: str) -> object | None:
        self._filesystem.invalidate_cache()
        path = self._path(name)
        return version_of(self._ask("get", name, lambda: self._filesystem.info(path)))

    def _require_size(self, name: str, total: int) -> None:
        """Ask for the last byte and the one behind it: the read whose rights and errors are known anyway."""
        if (name, total) in self._sized:
            return
        last = max(total - 1, 0)
        if len(self._read(name, last, total + 1 - last)) != total - last:
            raise self._of_another_size(name, total)
        self._remember_size(name, total)

    def _remember_size(self, name: str, total: int) -> None:
        """A blob never changes. Two threads at once may lose one of two entries, which costs a request."""
        if (name, total) not in self._sized:
            self._sized = (*self._sized[1 - _REMEMBERED :], (name, total))

    def _of_another_size(self, name: str, expected: int) -> BlobCorruptError:
        return BlobCorruptError(
            f"expected {expected} bytes, the store has another number", location=f"{self._location}/{name}"
        )

    def _delete_one(self, names: Sequence[str]) -> dict[str, str]:
        path = self._path(names[0])
        with contextlib.suppress(BlobNotFoundError):
            self._ask("delete", names[0], lambda: self._filesystem.rm_file(path), most=FOR_A_DELETE)
        return {}

    def _modified(self, entry: dict[str, Any]) -> datetime:
        moment = moment_of(entry)
        if moment is not None:
            return moment
        with self._translated("list", ""):
            moment = as_moment(self._filesystem.modified(entry["name"]))
        if moment is None:
            raise StoreError("the driver tells no times", reason="failed", location=self._location)
        return moment

    def _ask(
        self,
        doing: str,
        name: str,
        call: Callable[[], Any],
        size: int = 0,
        *,
        most: float = math.inf,
        if_left: Callable[[], None] = lambda: None,
    ) -> Any:
        """What the driver answers, or our error; ``size`` bytes are moved, ``most`` seconds waited."""
        patience = Patience(min(allowed_seconds(self._give_up_after), most))
        patience.allow(size)
        with self._translated(doing, name):
            try:
                return within(patience, call, if_left)
            except OutOfPatienceError:
                raise never_answered(doing, patience.seconds) from None

    def _translated(self, doing: str, name: str) -> Any:
        return fsspec_errors(doing, f"{self._location}/{name}" if name else self._location)

    def _path(self, name: str) -> str:
        return f"{self._root}/{checked_name(name)}"
