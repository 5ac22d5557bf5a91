"""What is in stored values, as far as this server may read the store: only when somebody asks, and in bounds.

A row is data that others can write, so a ref counts here only in the row that its blob was written for, whatever
``[offload_backend] isolation`` says: else who may write state of one DAG could read that of all others. Nothing
that is stored is run: pickles stay closed, and of a tree only the structure is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from offload_backend.airflow import maintenance
from offload_backend.airflow.ui.turns import Turns
from offload_backend.blobfile import digest_of, most_sealed_bytes
from offload_backend.blobs import Blobs, dangling, readable
from offload_backend.codecs.tree.view import open_tree
from offload_backend.errors import BlobCorruptError, UnreadableBlobError, concerning
from offload_backend.inventory.outline import outline
from offload_backend.isolation import of_row
from offload_backend.location import location_of, shown
from offload_backend.ref import BlobRef, is_ref, parse_ref
from offload_backend.row import TYPED, is_typed
from offload_backend.signature import Signatures
from offload_backend.storemap import StoreMap

if TYPE_CHECKING:
    from offload_backend.address import BlobName
    from offload_backend.blobstore import BlobStore
    from offload_backend.codecs.source import Source
    from offload_backend.corestore import FoundRow
    from offload_backend.settings import Settings

__all__ = ["MOST_DOWNLOADED", "Contents", "Download", "Shown", "contents"]

PATIENCE = timedelta(seconds=20)
"""How long the page waits for a store that makes no progress; a task has more time."""

MOST_DOWNLOADED = 1024**3
"""Bytes of a value, before compression, that are sent to a browser."""

MOST_SHOWN = 256 * 1024
"""Bytes of a JSON value that is shown whole, indented; of a longer one its beginning is shown."""

BEGINNING = 64 * 1024
MOST_TEXT = 1024 * 1024
"""Characters that indented JSON may take."""

MOST_STRUCTURE = 4 * 1024 * 1024
"""Bytes of a tree that are read to tell its structure."""

MOST_HELD = 32 * 1024 * 1024
AT_ONCE = 4
"""Values that one process shows at once, and as many that it sends: each may take some 40 MiB of memory."""

PIECE = 4 * 1024 * 1024
_CAT = "take it where the worker's settings are: offload cat"


@dataclass(frozen=True)
class Shown:
    """A value for people. ``form`` is ``json`` or ``outline``; ``cut`` tells that it is not all of it."""

    form: str
    text: str
    cut: bool
    size: int


@dataclass(frozen=True)
class Download:
    """The encoded value, verified piece by piece: ``size`` bytes for a file with this ``extension``.

    It has a turn, and memory, until ``close``, which may be called again.
    """

    pieces: Iterator[bytes]
    size: int
    extension: str
    close: Callable[[], None]


class Contents:
    """Values behind the rows of one deployment; every method may raise an ``OffloadError``, with a hint.

    So many are open at once: then :class:`~offload_backend.airflow.ui.turns.BusyError` is raised.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings = settings.replaced({"give_up_after": min(PATIENCE, settings.give_up_after)})
        self._stores = StoreMap(settings, lambda path: maintenance.open_store(path, settings))
        self._blobs = Blobs(settings, self._stores)
        self._signatures = Signatures(settings)
        self._shown = Turns(AT_ONCE)
        # The page asks whether there is something to send, hangs up and asks again: that was a moment ago.
        self._sent = Turns(AT_ONCE, seconds=1)

    @property
    def location(self) -> str:
        """Where blobs are written, without credentials; empty if this server is not told."""
        return shown(location_of(self.settings.path)) if self.settings.path else ""

    def check(self, found: FoundRow, text: str) -> None:
        """Nothing, if the blob is there and ends as it was written; its other bytes are not read."""
        ref = _ref(text)
        with concerning(location=shown(ref.url)), dangling():
            store, name, _ = self._find(found, ref, text)
            last = ref.seal or 1
            if last > min(ref.size, most_sealed_bytes(self.settings.max_value_bytes)):
                raise UnreadableBlobError("no blob ends as the ref says", hint="set the key again, or delete it")
            end = store.get_range(name, ref.size - last, last)
            if ref.seal and digest_of((end,)).hex() != ref.digest:
                raise BlobCorruptError("the blob does not end as it was written")

    def show(self, found: FoundRow, text: str) -> Shown:
        """The value, or what it is made of. JSON is as it was stored, numbers digit for digit."""
        if not is_ref(text):
            return _shown_json(text.removeprefix(TYPED) if is_typed(text) else text, len(text))
        ref = _ref(text)
        with self._shown.taken(), concerning(location=shown(ref.url)), readable(ref.codec):
            source, _ = self._source(found, ref, text)
            with closing(source):
                if ref.codec == "tree":
                    return _outlined(source)
                length = source.size if source.size <= MOST_SHOWN else BEGINNING
                return _shown_json(source.read(0, length).decode(errors="replace"), source.size)

    def download(self, found: FoundRow, text: str) -> Download:
        """The encoded value: JSON, or a safetensors file; decrypted, if it was encrypted."""
        ref = _ref(text)
        if ref.raw > MOST_DOWNLOADED:
            raise UnreadableBlobError(f"the value has {ref.raw} bytes, too many for a browser", hint=_CAT)
        with ExitStack() as held, concerning(location=shown(ref.url)), readable(ref.codec):
            held.enter_context(self._sent.taken())
            source, blob = self._source(found, ref, text)
            held.enter_context(closing(source))
            first = bytes(source.read(0, min(PIECE, source.size)))  # what is wrong is told before anything is sent
            extension = blob.extension.partition(".")[0]
            return Download(_pieces(source, first), source.size, extension, held.pop_all().close)

    def _find(self, found: FoundRow, ref: BlobRef, text: str) -> tuple[BlobStore, str, BlobName]:
        """Where the blob is, if its ref may be believed in this row; asks no store."""
        self._stores.require_path()
        self._signatures.check(text)
        store, name = self._stores.find(ref.url)
        own = [of_row(address, found.row.key) for address in found.addresses]
        blob = self._stores.blob_named(name, lambda scope, key: any(is_own(scope, key) for is_own in own))
        return store, name, blob

    def _source(self, found: FoundRow, ref: BlobRef, text: str) -> tuple[Source, BlobName]:
        *_, blob = self._find(found, ref, text)
        if ref.codec not in ("json", "tree"):
            raise UnreadableBlobError(f"a {ref.codec} is not opened here, for to read one is to run it", hint=_CAT)
        if ref.frames == "zstd" and ref.raw > MOST_HELD:
            raise UnreadableBlobError("a blob of this old format is read whole, and it is large", hint=_CAT)
        return self._blobs.open(ref), blob


@lru_cache(maxsize=1)
def contents() -> Contents:
    """As ``[offload_backend]`` says on this server; an ``OffloadError`` if that cannot be used."""
    return Contents(maintenance.settings({}))


def _ref(text: str) -> BlobRef:
    ref = parse_ref(text)
    if not isinstance(ref, BlobRef):
        raise UnreadableBlobError("only what this backend has offloaded is opened here", hint=_CAT)
    return ref


def _pieces(source: Source, first: bytes) -> Iterator[bytes]:
    yield first
    for start in range(len(first), source.size, PIECE):
        yield bytes(source.read(start, min(PIECE, source.size - start)))


class _Bounded:
    """A source that gives no more bytes than the structure of a value takes that people look at."""

    def __init__(self, source: Source) -> None:
        self._source, self._left = source, MOST_STRUCTURE

    @property
    def size(self) -> int:
        return self._source.size

    def read(self, start: int, length: int) -> bytearray:
        self._spend(length)
        return self._source.read(start, length)

    def fill(self, targets: Iterable[tuple[int, memoryview]]) -> None:
        wanted = list(targets)
        self._spend(sum(len(memory) for _, memory in wanted))
        self._source.fill(wanted)

    def pieces(self) -> Generator[bytearray, None, None]:
        yield self.read(0, self.size)

    def close(self) -> None:
        self._source.close()

    def _spend(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise UnreadableBlobError("the value has too many parts to be told here", hint=_CAT)


def _outlined(source: Source) -> Shown:
    parts = outline(open_tree(_Bounded(source), plain=True))
    lines = [f"{part.path}: {part.what}" if part.what else f"{part.path}: {part.left} more" for part in parts]
    return Shown("outline", "\n".join(lines), cut=False, size=source.size)


def _shown_json(text: str, size: int) -> Shown:
    """Indented, up to a length, for what is nested deep takes many times its size. The beginning stays as it is."""
    if size > MOST_SHOWN:
        return Shown("json", text[:BEGINNING], cut=True, size=size)
    taken: list[str] = []
    left = MOST_TEXT
    try:
        # From Python 3.12 on, what is too deep to be written may still have been read.
        for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(json.loads(text)):
            taken.append(piece)
            left -= len(piece)
            if left < 0:
                break
    except (ValueError, RecursionError):
        return Shown("json", text, cut=False, size=size)
    sendable = "".join(taken).encode(errors="backslashreplace").decode()  # half of a surrogate pair is not
    return Shown("json", sendable, cut=left < 0, size=size)
