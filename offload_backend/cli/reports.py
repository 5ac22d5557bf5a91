"""The reports of the collector for people: figures on stdout, what they mean on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from offload_backend.cli import advice
from offload_backend.cli.options import Output
from offload_backend.cli.tables import advise, ago, amount, columns, facts, moment, size, span
from offload_backend.lifecycle import report as reports

if TYPE_CHECKING:
    from offload_backend.cli.collecting import Outcome
    from offload_backend.errors import Refusal

__all__ = ["show"]

_COUNTS = {
    "listed": "blobs of this deployment",
    "live": "a row names them",
    "pinned": "kept by hand",
    "young": "younger than gc_min_age",
    "hidden": "their rows could not be seen: kept",
    "marked": "no row names them",
    "matured": "marked for the whole quarantine",
    "rescued": "had been marked, and are live now",
    "foreign": "not ours: never touched",
    "dangling": "refs whose blob was not listed",
}
_FATES = {
    "doomed": "may go now",
    "deleted": "confirmed by the store",
    "waiting": "in quarantine",
    "restored": "taken out of quarantine, or seen live since",
    "changed": "no longer the object that was marked",
    "gone": "no longer there",
    "spared": "held back by a hook",
}
_FIGURES = ("", "blobs", "bytes", "")


def show(outcome: Outcome, output: Output) -> None:
    """How a verb ended; with JSON on stdout already, only what goes to stderr."""
    texts = list(advice.about_refusals(outcome.refusals)) if outcome.refusals else []
    if outcome.report is not None:
        tables, meaning = _SHOWN[type(outcome.report)]
        if output is Output.TABLE:
            tables(outcome.report)
        texts += meaning(outcome.report)
    if outcome.failed:
        if output is Output.TABLE:
            columns("failed", ("blob", "reason"), outcome.failed.items())
        texts.append(f"{amount(len(outcome.failed))} not deleted: mend what the reasons say, and run it again.")
    for text in texts:
        advise(text)


def _adopt(report: reports.AdoptReport) -> None:
    facts(
        [
            ("deployment", report.deployment),
            ("location", report.location),
            ("database", f"{report.kind} {report.fingerprint}"),
            ("owner", report.owner),
            ("run number", report.sequence),
            *(("replaced", f"database {fingerprint}") for fingerprint in report.replaced),
        ]
    )


def _mark(report: reports.MarkReport) -> None:
    facts([("mark", report.run), ("state", report.state), *_circumstances(report)])
    _counts(report.counts)
    _shares(report.top_scopes)
    _samples(report.samples, report.now)


def _purge(report: reports.PurgeReport) -> None:
    state = "dry run" if report.dry else "done"
    facts([("purge", report.run), ("state", state), ("manifest", report.manifest), *_circumstances(report)])
    _counts(report.counts)
    tallies = [(name, getattr(report, name), meaning) for name, meaning in _FATES.items()]
    _tallies("what becomes of those that were marked", tallies, always=("doomed", "deleted"))
    _shares(report.top_scopes)
    _samples(report.samples, report.now)


def _verify(report: reports.VerifyReport) -> None:
    facts([("deployment", report.deployment), ("location", report.location), ("cost", _cost(report.cost))])
    _counts(report.counts)
    tallies = [("orphans", report.orphans, "old, without a row"), ("checked", report.checked, "read whole")]
    _tallies("verified", tallies, always=("orphans",))
    columns("trouble", ("problem", "row", "blob"), ((it.problem, it.holder, it.name) for it in report.found))


def _restore(report: reports.RestoreReport) -> None:
    facts([("restored", f"{report.restored:,}"), ("record", report.record)])
    columns("not marked", ("id",), ((blob_id,) for blob_id in report.unknown))


def _pin(report: reports.PinReport) -> None:
    facts([("pinned now", f"{report.pinned:,}")])
    columns("changed", ("id",), ((blob_id,) for blob_id in report.changed))
    columns("as before", ("id",), ((blob_id,) for blob_id in report.unchanged))


def _run(report: reports.RunReport) -> None:
    facts(
        [
            ("run", report.run),
            ("verb", report.verb),
            ("state", report.state),
            ("began", moment(report.now)),
            ("candidates", f"{report.candidates:,}"),
            ("deleted", f"{report.deleted:,}"),
            ("failed", f"{report.failed:,}"),
            ("accepted", ", ".join(report.accepted)),
        ]
    )
    _counts(report.counts)
    _refusals(report.refusals)
    _samples(report.samples, report.now)


def _status(report: reports.StatusReport) -> None:
    counted = "nothing" if report.database_sequence is None else f"{report.database_sequence}"
    facts(
        [
            ("deployment", report.deployment),
            ("location", report.location),
            ("database", f"{report.database}, {report.fingerprint}"),
            ("owner", report.owner or "nobody"),
            ("runs", f"{report.bucket_sequence} by the bucket, {counted} by the database"),
            ("manifest", report.manifest),
            ("waiting", amount(report.waiting.count, report.waiting.bytes)),
            ("matured", amount(report.matured.count, report.matured.bytes)),
            ("pinned", amount(report.pinned)),
        ]
    )
    heads = ("run", "verb", "began", "state", "candidates", "deleted", "failed")
    figures = heads[4:]
    runs = [
        (it.run, it.verb, moment(it.now), it.state, *(f"{getattr(it, name):,}" for name in figures))
        for it in report.runs
    ]
    columns("the last runs", heads, runs, figures)
    _refusals(report.refusals)


def _circumstances(report: reports.MarkReport | reports.PurgeReport) -> list[tuple[str, object]]:
    limits = report.limits
    ages = f"min age {span(limits.min_age)}, quarantine {span(limits.quarantine)}"
    where = "ahead of" if report.skew.total_seconds() > 0 else "behind"
    apart = f"this machine's is {span(report.skew)} {where} it"
    clocks = apart if abs(report.skew) >= timedelta(seconds=1) else "clocks agree"
    return [
        ("began", f"{moment(report.now)} by the store's clock; {clocks}"),
        ("deployment", report.deployment),
        ("location", report.location),
        ("limits", f"{ages}, at most {limits.max_ratio:.0%} and {amount(limits.max_count)} at once"),
        ("accepted", ", ".join(report.accepted)),
        ("cost", _cost(report.cost)),
    ]


def _counts(counts: reports.Counts) -> None:
    _tallies("what there is", [(name, getattr(counts, name), text) for name, text in _COUNTS.items()], ("listed",))


def _tallies(title: str, tallies: Iterable[tuple[str, reports.Tally, str]], always: tuple[str, ...]) -> None:
    rows = [
        (name, f"{tally.count:,}", size(tally.bytes), meaning)
        for name, tally, meaning in tallies
        if tally.count or name in always
    ]
    columns(title, _FIGURES, rows, _FIGURES[1:3])


def _shares(shares: Iterable[reports.ScopeShare]) -> None:
    rows = [(share.scope, f"{share.count:,}", size(share.bytes)) for share in shares]
    columns("whose they are", ("scope", "blobs", "bytes"), rows, _FIGURES[1:3])


def _samples(samples: Iterable[reports.Sample], now: datetime) -> None:
    rows = [(it.name, size(it.size), ago(it.modified, now), ago(it.first_marked, now), it.why) for it in samples]
    columns("for example", ("blob", "bytes", "written", "marked", "why"), rows, ("bytes",))


def _refusals(refusals: Iterable[Refusal]) -> None:
    rows = [(refusal.rule, refusal.measured, refusal.limit, refusal.override) for refusal in refusals]
    columns("refused", ("rule", "measured", "limit", "override"), rows)


def _cost(cost: reports.Cost) -> str:
    requests = f"{cost.lists:,} lists, {cost.writes:,} writes, {cost.reads:,} reads, {cost.deletes:,} deletes"
    return f"{requests}: ${cost.dollars:.4f} on S3"


_SHOWN: dict[type, tuple[Callable[[Any], None], Callable[[Any], Iterable[str]]]] = {
    reports.AdoptReport: (_adopt, advice.about_adopt),
    reports.MarkReport: (_mark, advice.about_mark),
    reports.PurgeReport: (_purge, advice.about_purge),
    reports.VerifyReport: (_verify, advice.about_verify),
    reports.RestoreReport: (_restore, advice.about_restore),
    reports.PinReport: (_pin, advice.about_pin),
    reports.RunReport: (_run, advice.about_run),
    reports.StatusReport: (_status, advice.about_status),
}
