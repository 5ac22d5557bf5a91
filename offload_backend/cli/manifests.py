"""Files of any length: all candidates of a run onto stdout, all roots into a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from offload_backend.cli.collecting import Place, exporting, print_json
from offload_backend.cli.options import Output
from offload_backend.cli.tables import advise, amount, facts, moment
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.records import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from offload_backend.lifecycle.collector import Collector
    from offload_backend.lifecycle.records import Candidate
    from offload_backend.lifecycle.report import RunReport

__all__ = ["write_candidates", "write_roots"]


def write_candidates(collector: Collector, report: RunReport, data: TextIO, output: Output) -> None:
    """Every candidate in the run's manifest: a line each, or in one JSON document with the report.

    Raises :class:`~offload_backend.errors.CollectorError` at the end of a manifest that is not complete;
    what was written before is then worth nothing, and in JSON the document is not closed.
    """
    found: Iterable[Candidate] = ()
    if report.candidates:
        found = Control(collector.store, collector.settings.deployment).candidates(report.run)
    data.writelines(_as_json(report, found) if output is Output.JSON else _as_lines(found))
    if output is Output.TABLE:
        advise(f"{amount(report.candidates, what='candidate')} of {report.run}.")


def write_roots(place: Place, file: Path, output: Output, sequence: int, canary: str | None) -> None:
    """Export the roots to the file; ``sequence`` and ``canary`` finish an adoption that asked for it."""
    from offload_backend.corestores.roots_export import RUNS, export_roots

    with exporting(place) as (roots, deployment):
        made = export_roots(roots, file, deployment, sequence=sequence, canary=canary)
    number = made.ledger and made.ledger.sequence
    if output is Output.JSON:
        found = {"file": str(file), "deployment": deployment, "roots": made.roots, "sequence": number}
        print_json({**found, "read_at": made.read_at.isoformat()})
    else:
        figures = [("roots", f"{made.roots:,}"), ("read at", moment(made.read_at)), ("after run", number)]
        facts([("file", file), ("deployment", deployment), *figures])
    if made.ledger is None:
        advise(
            f"Next: offload gc adopt --core-store roots+{file.absolute().as_uri()}, where the blobs can be reached."
        )
    else:
        advise(
            f"Next: offload gc run --core-store roots+{file.absolute().as_uri()}, where the blobs can be reached. "
            f"The export is good for {RUNS} runs of one command: make a new one for each."
        )


def _as_lines(found: Iterable[Candidate]) -> Iterator[str]:
    """Tab-separated, for sort and awk; names hold no white space."""
    yield "id\tbytes\tmodified\tfirst_marked\tname\n"
    for candidate in found:
        times = f"{moment(candidate.modified)}\t{moment(candidate.first_marked)}"
        yield f"{candidate.id}\t{candidate.size}\t{times}\t{candidate.name}\n"


def _as_json(report: RunReport, found: Iterable[Candidate]) -> Iterator[str]:
    head = json.dumps({name: value for name, value in report.as_json().items() if name != "samples"})
    yield head[:-1] + ', "all_candidates": ['
    between = ""
    for candidate in found:
        yield f"{between}\n{json.dumps(to_json(candidate))}"
        between = ","
    yield "\n]}\n"
