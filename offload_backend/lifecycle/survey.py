"""What every run looks at, in the order that makes it safe: first the whole listing, then all roots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from offload_backend.address import (
    StateAddress,
    address_of_header,
    address_of_scope,
    blob_scope,
    parse_blob_name,
)
from offload_backend.blobfile import MAX_HEADER, header_at_start
from offload_backend.blobstore import BlobInfo, BlobStore
from offload_backend.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    ForeignRefError,
    OffloadError,
    Refusal,
    UnreadableBlobError,
)
from offload_backend.lifecycle.census import BATCH, Census, batches, packed_id
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.contents import content_of
from offload_backend.lifecycle.evidence import Findings
from offload_backend.lifecycle.preflight import Run, ask, control_of, limits_of, refuse, standing_of
from offload_backend.lifecycle.records import Layout
from offload_backend.lifecycle.refusals import about_standing
from offload_backend.location import relative_name
from offload_backend.ref import BlobRef, parse_ref
from offload_backend.rootsource import Hidden, Root, root_of

__all__ = ["Survey", "add_kept", "add_roots", "addresses", "findings_of", "survey"]

_OLD_AND_LISTED = "SELECT size FROM claim WHERE old AND EXISTS (SELECT 1 FROM blob WHERE blob.id = claim.id)"


@dataclass(frozen=True)
class Survey:
    """A census that is complete: blobs older than ``cutoff`` are old. ``read_at`` is the roots', if not now."""

    cutoff: datetime
    read_at: datetime | None


def survey(collector: Collector, run: Run, census: Census, listing: Iterable[BlobInfo]) -> Survey:
    """List, then read the roots, then judge every blob. Whatever raises ends the run; nothing is decided."""
    census.add_listing(listing)
    read_at = collector.roots.origin().read_at
    cutoff = min(run.now, read_at or run.now) - collector.settings.gc_min_age
    roots = collector.roots.roots(addresses(collector.store, census, cutoff))
    add_roots(census, roots, collector, cutoff)
    add_kept(collector, census)
    _require_same_owner(collector, run)
    census.judge(cutoff)
    return Survey(cutoff, read_at)


def addresses(store: BlobStore, census: Census, cutoff: datetime) -> Iterator[StateAddress]:
    """The addresses of all blobs that are old. One that no blob tells is hidden: its blobs are kept."""
    for scope, name in census.old_scopes(cutoff):
        address = address_of_scope(scope) or _address_in_header(store, scope, name)
        if address is None:
            census.hide([scope])
        else:
            yield address


def add_roots(
    census: Census,
    found: Iterable[Root | Hidden],
    collector: Collector,
    cutoff: datetime,
    claims: str = "claim",
) -> int:
    """Roots into the census; how many hold a ref that names no blob of ours here.

    ``claims`` is the table for what they claim to exist.
    """
    layout, location = Layout(collector.settings.deployment), collector.store.location
    elsewhere = 0
    for batch in batches(found):
        census.hide(blob_scope(item.address, "")[0] for item in batch if isinstance(item, Hidden))
        roots = [item for item in batch if isinstance(item, Root)]
        census.add_ids("root", (blob_id for root in roots for blob_id in root.ids))
        claimed = [(root.ref, _claim(root, layout, location, cutoff)) for root in roots if root.ref is not None]
        census.add_claims((claim for _, claim in claimed if claim is not None), claims)
        others = [ref for ref, claim in claimed if claim is None]
        elsewhere += sum(not ref.startswith(f"{location}/{layout.control}") for ref in others)
    return elsewhere


def add_kept(collector: Collector, census: Census) -> None:
    """What is kept although no row names it: what a hook says, and what is pinned."""
    texts = ask(collector, "extra_roots", lambda: iter(collector.hooks.extra_roots()))
    while batch := ask(collector, "extra_roots", lambda: list(islice(texts, BATCH))):
        roots = [root_of(text, None, "a hook") for text in batch]
        if None in roots:
            refuse(collector, [_no_id()], ())
        census.add_ids("root", (blob_id for root in roots if root is not None for blob_id in root.ids))
    census.add_ids("pin", control_of(collector).pins())


def findings_of(census: Census, surveyed: Survey, run: Run, collector: Collector) -> Findings:
    """The evidence for refusals, once it is known what is to go."""
    layout = Layout(collector.settings.deployment)
    return Findings(
        listed=census.tally("SELECT size FROM blob").count,
        old_blobs=census.old_blobs(surveyed.cutoff),
        refs=census.tally("SELECT size FROM claim").count,
        old_refs=census.tally("SELECT size FROM claim WHERE old").count,
        old_refs_found=census.tally(_OLD_AND_LISTED).count,
        going=census.tally("SELECT size FROM going").count,
        canary_listed=layout.canary(run.owner) in census.canaries,
        canary_read=census.has_root(run.owner),
        limits=limits_of(collector),
    )


def _no_id() -> Refusal:
    return Refusal(
        rule="hook",
        measured="the hook extra_roots returned a text that holds no id",
        limit="each holds one",
        override="correct the hook, or take it out of [offload_backend] hooks",
    )


def _require_same_owner(collector: Collector, run: Run) -> None:
    """Refuse if the deployment was adopted, or the database changed, since the run began."""
    control = control_of(collector)
    standing = standing_of(collector, control, control.sequence())
    refusals = about_standing(standing)
    if standing.owner_id != run.owner:
        measured = "the deployment was adopted while this run was under way"
        refusals.append(Refusal("owner", measured, f"owner {run.owner}", "run the command again"))
    refuse(collector, refusals, run.accepted)


def _claim(root: Root, layout: Layout, location: str, cutoff: datetime) -> tuple[Any, ...] | None:
    """The row's claim that a blob of ours exists, if its ref is one to a blob of ours here."""
    try:
        ref = parse_ref(root.ref or "")
    except OffloadError:
        return None
    if not isinstance(ref, BlobRef):
        return None
    name = relative_name(ref.url, location)
    blob = parse_blob_name(name) if name else None
    if blob is None or blob.deployment != layout.deployment:
        return None
    old = root.updated_at is None or root.updated_at < cutoff
    return packed_id(blob.id), name, ref.size, content_of(ref), old, root.holder


def _address_in_header(store: BlobStore, scope: str, name: str) -> StateAddress | None:
    try:
        header = header_at_start(store.get_range(name, 0, MAX_HEADER))
        address = address_of_header(header)
    except (BlobNotFoundError, BlobCorruptError, UnreadableBlobError, ForeignRefError):
        return None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return address if blob_scope(address, "")[0] == scope else None
