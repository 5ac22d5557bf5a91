"""The file of an export: gzipped lines of JSON, a header first and a footer last that proves the rest."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, Any
from zlib import error as ZlibError  # noqa: N812 (an exception class, whatever zlib calls it)

from offload_backend.errors import ConfigError, CoreStoreError

__all__ = ["AGAIN", "damaged", "read_export", "write_export"]

AGAIN = "run offload gc export-roots again where the database is, and use that file"
_LONGEST_LINE = 64 * 1024 * 1024


def write_export(file: Path, header: dict[str, Any], entries: Iterable[dict[str, Any]]) -> int:
    """Write the file, readable by its owner only; it appears, or is replaced, when it is complete. The entries."""
    digest, count = hashlib.sha256(), 0
    with _replacing(file) as target, GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed:
        _put(packed, digest, header)
        for entry in entries:
            _put(packed, digest, entry)
            count += 1
        _put(packed, digest, {"count": count, "sha256": digest.hexdigest()})
    return count


def read_export(file: Path) -> Generator[dict[str, Any], None, str]:
    """The header, then every entry; the digest of all of them is the generator's value.

    What was yielded counts only when the generator has ended: otherwise
    :class:`~offload_backend.errors.CoreStoreError`, or :class:`~offload_backend.errors.ConfigError` if there
    is no such file or it is something else.
    """
    digest, count, waiting = hashlib.sha256(), -1, b""
    for line in _lines(file):
        if waiting:
            digest.update(waiting)
            count += 1
            yield _object(waiting, file)
        waiting = line
    if count < 0 or _object(waiting, file) != {"count": count, "sha256": digest.hexdigest()}:
        raise damaged("the export is not complete, or was changed", file)
    return digest.hexdigest()


def damaged(message: str, file: Path) -> CoreStoreError:
    """An error about the file's content."""
    return CoreStoreError(message, hint=AGAIN, location=str(file))


def _put(packed: IO[bytes] | GzipFile, digest: Any, entry: dict[str, Any]) -> None:
    line = json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
    digest.update(line)
    packed.write(line)


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as packed, GzipFile(fileobj=packed) as text:
            while line := text.readline(_LONGEST_LINE):
                if not line.endswith(b"\n"):
                    raise damaged("the export ends within a line, or a line has no end", file)
                yield line
    except FileNotFoundError as error:
        raise ConfigError("there is no such export", hint=AGAIN, location=str(file)) from error
    except BadGzipFile as error:
        raise damaged("the file is no export of roots, or damaged", file) from error
    except (EOFError, ZlibError) as error:
        raise damaged("the export is truncated or damaged", file) from error
    except OSError as error:
        raise _trouble("read", error, file) from error


def _object(line: bytes, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise damaged("a line of the export is not JSON", file) from error
    if not isinstance(found, dict):
        raise damaged("a line of the export is not a JSON object", file)
    return found


@contextmanager
def _replacing(file: Path) -> Iterator[IO[bytes]]:
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as target:
            try:
                yield target
                target.flush()
                os.fsync(target.fileno())
            except BaseException:
                Path(target.name).unlink()
                raise
        Path(target.name).replace(file)
    except OSError as error:
        raise _trouble("written", error, file) from error


def _trouble(what: str, error: OSError, file: Path) -> CoreStoreError:
    hint = "see to the directory, its permissions and the space in it"
    return CoreStoreError(f"the export cannot be {what}: {error.strerror}", hint=hint, location=str(file))
