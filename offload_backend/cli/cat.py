"""``offload cat``: one value on stdout, piece by piece."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from offload_backend.cli.collecting import Place
from offload_backend.cli.looking import (
    AssetOption,
    DagOption,
    IndexOption,
    KeyOption,
    Looked,
    RefArgument,
    RunOption,
    TaskOption,
    UriOption,
    choice_of,
    look_up,
)
from offload_backend.cli.options import CoreStoreOption, DeploymentOption, PathOption
from offload_backend.errors import ConfigError, UnreadableBlobError

if TYPE_CHECKING:
    from offload_backend.codecs.view import View
    from offload_backend.inventory.reading import Reading
    from offload_backend.ref import BlobRef, PeerRef

__all__ = ["cat"]

RawOption = Annotated[
    bool, typer.Option("--raw", help="What is stored, as it is: of most blobs a .zst file. Not onto a terminal.")
]
Pieces = Iterable[bytes | bytearray]


def cat(
    ref: RefArgument = None,
    *,
    dag: DagOption = None,
    run: RunOption = None,
    task: TaskOption = None,
    map_index: IndexOption = None,
    asset: AssetOption = None,
    asset_uri: UriOption = None,
    key: KeyOption = None,
    raw: RawOption = False,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
) -> None:
    """Write one value to stdout: JSON as it is stored, bytes as bytes, all else as JSON for people.

    Verified as it is written, so what stands there when this fails is a beginning, and the exit code says so: 5
    if the blob is gone or damaged. JSON of any size takes little memory. What is not JSON comes as
    {"$": kind, …}, arrays by type and shape alone: only get() gives such a value back.
    """
    out = sys.stdout.buffer
    choice = choice_of(
        dag=dag, run=run, task=task, map_index=map_index, asset=asset, asset_uri=asset_uri, key=key, everything=True
    )
    looked = look_up(ref, choice, Place(path, core_store, deployment))
    with redirect_stdout(sys.stderr):
        pieces, is_text = _pieces(looked, raw=raw)
        _write(out, pieces, is_text=is_text)


def _pieces(looked: Looked, *, raw: bool) -> tuple[Pieces, bool]:
    """What is to be written, and whether it is JSON."""
    from offload_backend.inventory.reading import Reading
    from offload_backend.ref import PeerRef, is_ref

    if not is_ref(looked.text):
        if raw:
            raise ConfigError("the value is in its row: no blob is stored", hint="leave out --raw")
        return _of_inline(looked)
    reading = Reading(looked.settings, looked.open_store)
    ref = reading.ref(looked.text)
    if raw:
        return reading.stored(ref), False
    if isinstance(ref, PeerRef) or ref.codec == "json":
        return _json_text(looked, reading, ref), True
    if ref.codec == "tree":
        return _of_view(_view(looked))
    raise UnreadableBlobError(
        f"a value of the codec {ref.codec!r} is not shown", hint="offload cat --raw gives what is stored"
    )


def _json_text(looked: Looked, reading: Reading, ref: BlobRef | PeerRef) -> Pieces:
    from offload_backend.ref import BlobRef

    return reading.encoded(ref) if isinstance(ref, BlobRef) else [_dumped(_view(looked).value())]


def _of_inline(looked: Looked) -> tuple[Pieces, bool]:
    from offload_backend.row import is_typed

    view = _view(looked)  # which tells a row that holds no value
    return _of_view(view) if is_typed(looked.text) else ([looked.text.encode("utf-8", "surrogatepass")], True)


def _of_view(view: View) -> tuple[Pieces, bool]:
    from offload_backend.inventory.rendering import rendering

    if view.kind in ("bytes", "bytearray"):
        return [view.value()], False
    return [_dumped(rendering(view))], True


def _view(looked: Looked) -> View:
    from offload_backend.offloader import Offloader

    return Offloader(looked.settings, looked.open_store).look(looked.text, plain=True)


def _dumped(value: object) -> bytes:
    return f"{json.dumps(value, indent=2)}\n".encode()


def _write(out: BinaryIO, pieces: Pieces, *, is_text: bool) -> None:
    """All pieces, in order and as they are; on a terminal only text, which cannot make that do things."""
    if not out.isatty():
        out.writelines(pieces)
        out.flush()
        return
    if not is_text:
        raise ConfigError(
            "these are bytes, which a terminal would act upon",
            hint="send them to a file or a pipe: offload cat … > FILE",
        )
    out.writelines(text.encode("utf-8", "replace") for text in _harmless(pieces))
    out.write(b"\n")
    out.flush()


def _harmless(pieces: Pieces) -> Iterator[str]:
    """JSON that is the same, with escapes in the place of characters that no eye sees."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        text = decoder.decode(bytes(piece))
        yield "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]
