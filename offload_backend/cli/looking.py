"""What the verbs that look have in common: which state is meant, and where it is found."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from offload_backend.cli.collecting import Place
from offload_backend.cli.opening import Deployment, Kind, open_blobs, open_deployment
from offload_backend.cli.options import duration_of
from offload_backend.cli.progress import bar
from offload_backend.cli.tables import plain
from offload_backend.errors import ConfigError
from offload_backend.inventory.choice import Choice
from offload_backend.inventory.entry import Entry, entry_of, text_of
from offload_backend.ref import is_ref
from offload_backend.row import open_envelope

if TYPE_CHECKING:
    from offload_backend.blobstore import BlobStore
    from offload_backend.corestore import FoundRow, RemovableRows
    from offload_backend.settings import Settings

__all__ = ["AssetOption", "DagOption", "IndexOption", "KeyOption", "RefArgument", "RunOption", "TaskOption"]
__all__ += ["Looked", "UriOption", "choice_of", "entries", "look_up", "opened_rows", "parse_size"]

DagOption = Annotated[str | None, typer.Option("--dag", help="State of the tasks of the dags like this: a glob.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Only of runs like this: a glob.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only of tasks like this: a glob.")]
IndexOption = Annotated[int | None, typer.Option("--map-index", help="Only of this index of the tasks.")]
AssetOption = Annotated[str | None, typer.Option("--asset", help="State of assets with names like this: a glob.")]
UriOption = Annotated[str | None, typer.Option("--asset-uri", help="State of assets with uris like this: a glob.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only keys like this: a glob.")]
RefArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="REF", help="A ref, in quotes, or a row that holds one. Without it the options say which row."
    ),
]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kMGT]?)(i?)B?)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SHOWN = 5
_AGE = "7d; units are s, m, h and d"
ROWS_AT_A_TIME = 1000


def choice_of(
    *,
    dag: str | None = None,
    run: str | None = None,
    task: str | None = None,
    map_index: int | None = None,
    asset: str | None = None,
    asset_uri: str | None = None,
    key: str | None = None,
    older_than: str | None = None,
    newer_than: str | None = None,
    larger_than: str | None = None,
    everything: bool = False,
) -> Choice:
    """What the options mean; :class:`ConfigError` where they exclude each other or cannot be read."""
    of_task = (dag, run, task, map_index) != (None,) * 4
    if asset is not None and asset_uri is not None:
        raise ConfigError("--asset and --asset-uri are two names of an asset", hint="give one of them")
    if of_task and (asset is not None or asset_uri is not None):
        raise ConfigError("--dag, --run, --task and --map-index are of tasks, not of assets", hint="see --help")
    if "" in (dag, run, task, asset, asset_uri, key):
        raise ConfigError("an option is empty", hint="leave it out to mean all")
    return Choice(
        *(dag, run, task, map_index, asset, asset_uri, key),
        older_than=None if older_than is None else duration_of("--older-than", older_than, _AGE),
        newer_than=None if newer_than is None else duration_of("--newer-than", newer_than, _AGE),
        larger_than=None if larger_than is None else parse_size("--larger-than", larger_than),
        everything=everything,
    )


def parse_size(option: str, text: str) -> int:
    """Bytes: ``500``, ``10MB`` and ``1.5GB`` in powers of ten, ``10MiB`` of two."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise ConfigError(f"{option} {text[:20]!r} is not a size", hint=f"for example {option} 10MB, or 64KiB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])


@contextmanager
def opened_rows(place: Place) -> Iterator[tuple[Deployment, RemovableRows]]:
    """The deployment and its rows. What Airflow prints meanwhile goes to stderr: stdout is for data.

    Raises :class:`ConfigError` for a core store that does not tell all rows.
    """
    with redirect_stdout(sys.stderr):
        deployment = open_deployment(*place)
        if deployment.core_store.kind in (Kind.REST, Kind.EXPORT):
            raise ConfigError(
                f"rows cannot be listed through {deployment.core_store.kind.value}+…, which holds refs alone, or "
                "tells only what it is asked for",
                hint="run this where the database can be reached, with --core-store airflow+postgresql://…; or "
                "give offload show and offload cat a ref, which the API and the UI show",
            )
        with deployment.rows() as rows:
            yield deployment, rows


def entries(rows: RemovableRows, choice: Choice) -> Iterator[Entry]:
    """The entries that are meant, from one snapshot; counted on stderr where somebody looks."""
    return (entry for _, entry in _found(rows, choice))


def _found(rows: RemovableRows, choice: Choice) -> Iterator[tuple[FoundRow, Entry]]:
    now, matched = rows.now(), 0
    with bar() as show:
        for number, found in enumerate(rows.found(), 1):
            if choice.has_row(found, now) and choice.has_value(entry := entry_of(found)):
                matched += 1
                yield found, entry
            if number % ROWS_AT_A_TIME == 0:
                show(f"rows read, {matched:,} meant", number, None)


@dataclass(frozen=True)
class Looked:
    """What a verb was pointed at: the text of a row, its entry if there is a row, and how to read what it names."""

    text: str
    entry: Entry | None
    settings: Settings
    open_store: Callable[[str], BlobStore]


def look_up(ref: str | None, choice: Choice, place: Place) -> Looked:
    """The one value that is meant.

    Raises :class:`ConfigError` unless there is a ref, or options that exactly one row is meant by.
    """
    has_options = choice != Choice(everything=choice.everything)
    if (ref is None) == (not has_options):
        raise ConfigError(
            "say which value: give a ref, or the options of one row",
            hint="offload ls lists them; a ref goes in quotes, for it holds '#' and '&'",
        )
    if ref is None:
        return _row_meant(choice, place)
    with redirect_stdout(sys.stderr):
        settings, open_store = open_blobs(place.path, place.deployment)
    return Looked(_unwrapped(ref), None, settings, open_store)


def _unwrapped(ref: str) -> str:
    """The ref in what people paste: the ref itself, or the row around it."""
    text = ref.strip()
    if text.startswith("{"):
        with suppress(ValueError, RecursionError):
            text = open_envelope(json.loads(text)) or text
    if not is_ref(text):
        raise ConfigError(
            "this is not a ref",
            hint="a ref is a URL, with '#' and facts behind it; offload ls --output json has them",
        )
    return text


def _row_meant(choice: Choice, place: Place) -> Looked:
    with opened_rows(place) as (deployment, rows):
        found = []
        for row, entry in _found(rows, choice):
            if not entry.archived:
                found.append((row, entry))
            if len(found) > _SHOWN:
                break
    if not found:
        raise ConfigError("no row is meant", hint="offload ls --all, with less of the options, shows what is there")
    if len(found) > 1:
        shown = "; ".join(f"{plain(entry.address)} key {entry.key!r}" for _, entry in found[:_SHOWN])
        more = "; and more" if len(found) > _SHOWN else ""
        raise ConfigError(f"several rows are meant: {shown}{more}", hint="say which, as exactly as offload ls does")
    row, entry = found[0]
    return Looked(text_of(row), entry, deployment.settings, deployment.open_store)
