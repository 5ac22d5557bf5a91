"""``offload show``: what a ref says, what its blob says, and what the value is made of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from offload_backend.cli.collecting import Place, print_json
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
from offload_backend.cli.options import CoreStoreOption, DeploymentOption, Output, OutputOption, PathOption
from offload_backend.cli.tables import advise, ago, columns, facts, size
from offload_backend.errors import OffloadError

if TYPE_CHECKING:
    from offload_backend.inventory.outline import Part
    from offload_backend.inventory.reading import Told
    from offload_backend.ref import BlobRef

__all__ = ["show"]


def show(
    ref: RefArgument = None,
    *,
    dag: DagOption = None,
    run: RunOption = None,
    task: TaskOption = None,
    map_index: IndexOption = None,
    asset: AssetOption = None,
    asset_uri: UriOption = None,
    key: KeyOption = None,
    path: PathOption = None,
    core_store: CoreStoreOption = None,
    deployment: DeploymentOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what is known of one value without loading it: its row, its ref, its blob's header, its structure.

    Says what was verified and what was not. Exit code 5 if the blob is gone or is not the one that was written.
    """
    choice = choice_of(
        dag=dag, run=run, task=task, map_index=map_index, asset=asset, asset_uri=asset_uri, key=key, everything=True
    )
    looked = look_up(ref, choice, Place(path, core_store, deployment))
    with redirect_stdout(sys.stderr):
        seen = _see(looked)
    (_as_json if output is Output.JSON else _as_table)(looked, seen)
    if seen.error is not None:
        raise seen.error


@dataclass
class _Seen:
    """What was found out, up to the error that ended it."""

    ref: dict[str, Any] = field(default_factory=dict)
    told: Told | None = None
    parts: list[Part] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    error: OffloadError | None = None


def _see(looked: Looked) -> _Seen:
    from offload_backend.ref import is_ref

    seen = _Seen()
    try:
        if is_ref(looked.text):
            _see_stored(looked, seen)
        else:
            _see_structure(looked, seen)
            seen.verified.append("the value in the row can be read")
    except OffloadError as error:
        seen.error = error
    return seen


def _see_stored(looked: Looked, seen: _Seen) -> None:
    from offload_backend.inventory.reading import Reading
    from offload_backend.ref import BlobRef, parse_ref, signature_of

    parsed = parse_ref(looked.text)
    signature = signature_of(looked.text)
    seen.ref = _facts_of(parsed) if isinstance(parsed, BlobRef) else {}
    seen.ref |= {"signed_by": signature.signer} if signature else {}
    reading = Reading(looked.settings, looked.open_store)
    ref = reading.ref(looked.text)
    if signature and looked.settings.signing_keys:
        seen.verified.append("the ref's signature")
    elif signature:
        seen.unverified.append("the ref's signature: signing_keys is not set here")
    if not isinstance(ref, BlobRef):
        reading.require(ref)
        seen.verified.append("a file is there")
        seen.unverified.append("all else: refs of Airflow's own backend pin nothing")
        return
    seen.told = told = reading.told(ref)
    if not told.verified:
        seen.unverified.append("the blob, of format 1: only reading all of it tells, offload cat")
        return
    seen.verified.append("the blob is there, as long as it should be, and ends and begins as the ref pins it")
    if ref.codec == "tree":
        _see_structure(looked, seen)
        seen.verified.append("the structure")
    seen.unverified.append("the frames that hold the value: offload verify --contents reads all")


def _see_structure(looked: Looked, seen: _Seen) -> None:
    from offload_backend.inventory.outline import outline
    from offload_backend.offloader import Offloader

    view = Offloader(looked.settings, looked.open_store).look(looked.text, plain=True)
    seen.parts = outline(view)


def _facts_of(ref: BlobRef) -> dict[str, Any]:
    return {
        "value": ref.about,
        "codec": ref.codec,
        "framing": ref.frames,
        "encrypted_by": ref.key,
        "stored": ref.size,
        "raw": ref.raw,
        "digest": ref.digest,
    }


def _as_json(looked: Looked, seen: _Seen) -> None:
    error = seen.error
    print_json(
        {
            "row": looked.entry and looked.entry.as_json(),
            "url": _url(looked),
            "ref": seen.ref,
            "blob": seen.told and {"header": seen.told.header, "frames": seen.told.frames},
            "parts": [asdict(part) for part in seen.parts],
            "verified": seen.verified,
            "not_verified": seen.unverified,
            "error": error and {"type": type(error).__name__, "message": error.message, "hint": error.hint},
        }
    )


def _as_table(looked: Looked, seen: _Seen) -> None:
    now = datetime.now(tz=timezone.utc)
    facts([*_of_row(looked, now), ("url", _url(looked)), *_of_ref(seen.ref), *_of_blob(seen, now)])
    columns("what it is made of", ("part", "is"), map(_line, seen.parts))
    for name, found in (("Verified", seen.verified), ("Not verified", seen.unverified)):
        if found:
            advise(f"{name}: {'; '.join(found)}.")


def _of_row(looked: Looked, now: datetime) -> Iterator[tuple[str, object]]:
    entry = looked.entry
    if entry is not None:
        yield "whose", entry.address
        yield "key", entry.key
        yield "row written", ago(entry.updated_at, now)
        yield "row expires", ago(entry.expires_at, now) or "never"
        if entry.kept == "inline":
            yield "value", entry.about
            yield "kept", f"in the row, {size(entry.stored or 0)}"


def _of_ref(ref: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in ref.items():
        shown = f"{value:,} bytes ({size(value)})" if name in ("stored", "raw") else value
        yield name.replace("_", " "), shown
    if ref.get("raw") and ref.get("stored"):
        yield "ratio", f"{ref['raw'] / ref['stored']:.2f}"


def _of_blob(seen: _Seen, now: datetime) -> Iterator[tuple[str, object]]:
    if seen.told is None:
        return
    header = seen.told.header
    yield "blob of", _whose(header)
    yield "blob's key", header.get("key")
    yield "id", header.get("id")
    yield "created", _created(header, now)
    yield "blob format", header.get("offload")
    yield "frames", seen.told.frames or None


def _whose(header: dict[str, Any]) -> object:
    from offload_backend.address import address_of_header

    try:
        return address_of_header(header)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _created(header: dict[str, Any], now: datetime) -> object:
    try:
        return ago(datetime.fromisoformat(header["created"]), now)
    except (KeyError, TypeError, ValueError):
        return None


def _line(part: Part) -> tuple[str, str]:
    return (part.path, part.what) if not part.left else (part.path, f"… and {part.left:,} more")


def _url(looked: Looked) -> str:
    from offload_backend.location import shown
    from offload_backend.ref import is_ref

    return shown(looked.text.partition("#")[0]) if is_ref(looked.text) else ""
