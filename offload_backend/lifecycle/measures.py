"""Refusals by measure: what listing and roots together show, and how much would go. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from offload_backend.errors import Refusal
from offload_backend.lifecycle.evidence import Findings
from offload_backend.lifecycle.refusals import ADOPT, acceptable

__all__ = ["FEW", "LOST", "about_deletion", "about_findings"]

FEW = 10
"""Blobs that may go whatever their share is: in a small deployment one orphan is a large one."""
LOST = 2
"""Refs that may dangle before a few of them stop the collector; verify tells of each."""


def about_findings(findings: Findings) -> list[Refusal]:
    """Refusals once everything is read."""
    rules = (_canary_not_listed, _canary_not_read, _no_roots, _match)
    return [refusal for rule in rules for refusal in rule(findings)]


def about_deletion(findings: Findings) -> list[Refusal]:
    """Refusals of a purge once it is known what would go."""
    return [refusal for rule in (_ratio, _count) for refusal in rule(findings)]


def _canary_not_listed(findings: Findings) -> Iterator[Refusal]:
    if not findings.canary_listed:
        yield Refusal(
            "canary-listed",
            "the listing does not show the canary",
            "it is listed",
            f"check bucket, prefix, credentials and lifecycle rules; if the canary alone is lost: {ADOPT}",
        )


def _canary_not_read(findings: Findings) -> Iterator[Refusal]:
    if not findings.canary_read:
        yield Refusal(
            "canary-read",
            "the roots do not include the canary: they are not complete",
            "it is read",
            "check what may be read in the database",
        )


def _no_roots(findings: Findings) -> Iterator[Refusal]:
    if findings.old_blobs and not findings.refs:
        yield acceptable(
            "no-roots",
            f"no row refers to a blob of this deployment here, and yet there are {findings.old_blobs} old ones",
            "at least one",
            "check that this is the database of these blobs",
        )


def _match(findings: Findings) -> Iterator[Refusal]:
    missing = findings.old_refs - findings.old_refs_found
    few = missing <= LOST and findings.old_refs_found
    if missing > (1 - findings.limits.min_match) * findings.old_refs and not few:
        yield acceptable(
            "match",
            f"{findings.old_refs_found} of {findings.old_refs} old refs are in the listing "
            f"({findings.old_refs_found / findings.old_refs:.2%})",
            f"at least {findings.limits.min_match:.2%}",
            "check path and credentials, and run offload verify; or lower [offload_backend] gc_min_match",
        )


def _ratio(findings: Findings) -> Iterator[Refusal]:
    if findings.going > max(FEW, findings.limits.max_ratio * findings.listed):
        yield acceptable(
            "ratio",
            f"{findings.going} of {findings.listed} blobs would go ({findings.going / findings.listed:.1%})",
            f"{findings.limits.max_ratio:.1%}, or {FEW} blobs",
            "look at the samples; or raise [offload_backend] gc_max_ratio",
        )


def _count(findings: Findings) -> Iterator[Refusal]:
    if findings.going > findings.limits.max_count:
        yield acceptable(
            "count",
            f"{findings.going} blobs would go at once",
            str(findings.limits.max_count),
            "look at the samples; or raise [offload_backend] gc_max_count",
        )
