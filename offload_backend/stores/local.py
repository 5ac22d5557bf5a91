"""Blobs as files below one directory: atomic, durable, and never through a symbolic link."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import partial

from offload_backend.blobstore import BlobInfo, Buffer, DeleteReport
from offload_backend.errors import BlobCorruptError, BlobNotFoundError, ForeignRefError, OffloadError
from offload_backend.location import checked_name, checked_prefix, parse_location
from offload_backend.stores.folders import (
    TEMPORARY,
    create_file,
    fill,
    open_file,
    publish,
    remove_file,
    scan,
    unfinished,
    write_all,
)
from offload_backend.stores.os_errors import os_store_error
from offload_backend.stores.unchanged import is_written_once, read_twice

__all__ = ["LocalBlobStore"]

CHUNK = 1024 * 1024
_BATCH = 4 * CHUNK
_MOST_BUFFERS = os.sysconf("SC_IOV_MAX")


class LocalBlobStore:
    """A blob store in a directory, which is made with the first blob.

    A blob gets its name by one rename, after its bytes are on the disk. A process that is killed while
    it writes leaves a file ``.part#…`` behind, which is never listed; the collector has it removed. When the disk
    refuses right after the rename, or a signal handler raises there, ``put`` raises and yet the blob may be
    there. The directory itself may be a symbolic link, resolved once; below it none is followed.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self._root = os.path.realpath(f"/{parse_location(location).path}")

    @property
    def location(self) -> str:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        return self._location

    def put(self, name: str, chunks: Iterable[Buffer]) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        *folders, leaf = checked_name(name).split("/")
        temporary = f"{TEMPORARY}{uuid.uuid4().hex}"
        with ExitStack() as stack:
            with self._translated("put", name):
                folder, file = create_file(stack, self._root, folders, temporary)
            self._write(file, chunks, name)
            with self._translated("put", name):
                publish(folder, temporary, leaf)

    def get(self, name: str) -> Iterator[bytes]:
        """See :class:`~offload_backend.blobstore.BlobStore`. What others may overwrite is read twice."""
        with ExitStack() as stack:
            file = self._open(stack, name)
            whole = partial(self._whole, file, name)
            yield from whole() if is_written_once(name) else read_twice(whole, f"{self._location}/{name}")

    def get_range(self, name: str, start: int, length: int) -> bytes:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        if start < 0 or length < 0:
            raise ValueError("start and length are not negative")
        data = bytearray()
        with ExitStack() as stack:
            file = self._open(stack, name)
            with self._translated("get", name):
                os.lseek(file, start, os.SEEK_SET)
            while chunk := self._read(file, min(CHUNK, length - len(data)), name):
                data += chunk
        return bytes(data)

    def read_into(self, name: str, start: int, buffer: memoryview, total: int) -> None:
        """See :class:`~offload_backend.blobstore.BlobStore`. The system writes straight into the buffer."""
        if start < 0:
            raise ValueError("start is not negative")
        with ExitStack() as stack:
            file = self._open(stack, name)
            with self._translated("get", name):
                size = os.fstat(file).st_size
                filled = fill(file, start, buffer)
        if size != total or filled != len(buffer):
            raise BlobCorruptError(
                f"expected {max(total, start + len(buffer))} bytes, the file has {size}",
                location=f"{self._location}/{name}",
            )

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """See :class:`~offload_backend.blobstore.BlobStore`."""
        for start, files in self._walk(prefix):
            for name, status in files.items():
                if f"{start}{name}".startswith(prefix):
                    modified = datetime.fromtimestamp(status.st_mtime, tz=timezone.utc)
                    yield BlobInfo(f"{start}{name}", status.st_size, modified)

    def delete(self, names: Sequence[str]) -> DeleteReport:
        """See :class:`~offload_backend.blobstore.BlobStore`. Folders that become empty go as well."""
        deleted: dict[str, None] = {}
        failed: dict[str, str] = {}
        for name in dict.fromkeys(map(checked_name, names)):
            *folders, leaf = name.split("/")
            try:
                with contextlib.suppress(BlobNotFoundError), self._translated("delete", name):
                    remove_file(self._root, folders, leaf)
                deleted[name] = None
            except OffloadError as error:
                failed[name] = error.message
        return DeleteReport(tuple(deleted), failed)

    def remove_unfinished(self, prefix: str, before: datetime) -> int:
        """See :class:`~offload_backend.blobstore.KeepsUnfinished`."""
        removed = 0
        for start, _ in self._walk(prefix):
            folders = start.split("/")[:-1]
            with contextlib.suppress(OSError):
                for name, status in unfinished(self._root, folders).items():
                    if f"{start}{name}".startswith(prefix) and status.st_mtime < before.timestamp():
                        remove_file(self._root, folders, name)
                        removed += 1
        return removed

    def _walk(self, prefix: str) -> Iterator[tuple[str, dict[str, os.stat_result]]]:
        """The folders, with a slash at the end, where names can have the prefix, and the files in each."""
        pending = [checked_prefix(prefix).rpartition("/")[0]]
        while pending:
            path = pending.pop()
            start = f"{path}/" if path else ""
            files, subfolders = self._scan(path)
            pending += [f"{start}{name}" for name in subfolders if f"{start}{name}/".startswith(prefix)]
            yield start, files

    def _write(self, file: int, chunks: Iterable[Buffer], name: str) -> None:
        for batch in _batches(chunks):
            with self._translated("put", name):
                write_all(file, batch)
        with self._translated("put", name):
            os.fsync(file)

    def _open(self, stack: ExitStack, name: str) -> int:
        *folders, leaf = checked_name(name).split("/")
        with self._translated("get", name):
            return open_file(stack, self._root, folders, leaf)

    def _whole(self, file: int, name: str) -> Iterator[bytes]:
        with self._translated("get", name):
            os.lseek(file, 0, os.SEEK_SET)
        while chunk := self._read(file, CHUNK, name):
            yield chunk

    def _read(self, file: int, length: int, name: str) -> bytes:
        with self._translated("get", name):
            return os.read(file, length)

    def _scan(self, path: str) -> tuple[dict[str, os.stat_result], Sequence[str]]:
        with contextlib.suppress(BlobNotFoundError), self._translated("list", path):
            return scan(self._root, path.split("/") if path else [])
        return {}, []

    @contextmanager
    def _translated(self, doing: str, name: str) -> Iterator[None]:
        """Our errors for the system's, around nothing but system calls: a caller's own pass unchanged."""
        try:
            yield
        except OSError as error:
            place = f"{self._location}/{name}"
            if error.errno == errno.ELOOP:
                raise ForeignRefError(
                    "a symbolic link stands in the way",
                    location=place,
                    hint="let [offload_backend] path name the directory that the link leads to",
                ) from error
            if doing != "put" and error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise BlobNotFoundError("there is no such blob", location=place) from error
            raise os_store_error(error, doing, place) from error


def _batches(chunks: Iterable[Buffer]) -> Iterator[list[memoryview]]:
    """The same bytes as views, so many at a time as one system call takes, and of at most ``_BATCH`` bytes."""
    batch: list[memoryview] = []
    size = 0
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK):
            view = memoryview(chunk)[start : start + CHUNK]
            if len(batch) == _MOST_BUFFERS or size + len(view) > _BATCH:
                yield batch
                batch, size = [], 0
            batch.append(view)
            size += len(view)
    if batch:
        yield batch
