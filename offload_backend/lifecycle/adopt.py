"""Adopt: from now on, this database's rows say which of the deployment's blobs are live."""

from __future__ import annotations

import json
from collections.abc import Collection

from offload_backend.blobfile import BlobFile
from offload_backend.lifecycle.collector import Collector
from offload_backend.lifecycle.control import Control
from offload_backend.lifecycle.preflight import control_of, refuse, standing_of
from offload_backend.lifecycle.records import Owner, moment_text
from offload_backend.lifecycle.refusals import about_adoption
from offload_backend.lifecycle.report import AdoptReport
from offload_backend.ref import BlobRef, format_ref
from offload_backend.rootsource import Ledger

__all__ = ["adopt"]

_CANARY = "This blob belongs to the collector of offload-backend. Do not delete it."


def adopt(collector: Collector, accept: Collection[str] = ()) -> AdoptReport:
    """Make this database the owner of the deployment's blobs, and mark them from zero.

    For the first use, after the database was moved, and to acknowledge that it was restored. Raises
    :class:`~offload_backend.errors.RefusedError`. When it is cut short, run it again.
    """
    control = control_of(collector)
    bucket_sequence = control.sequence()
    standing = standing_of(collector, control, bucket_sequence)
    refuse(collector, about_adoption(standing), accept)
    origin, created = standing.origin, collector.clock()
    former = control.owners()
    # The owner first: from then on no manifest of before is acted upon, and no run begins until the
    # database has the new owner's canary in its ledger.
    owner = Owner(
        deployment=collector.settings.deployment,
        kind=origin.kind,
        fingerprint=origin.fingerprint,
        location=collector.store.location,
        created=created,
    )
    owner_id = control.write_owner(owner)
    canary = _write_canary(control, owner_id, moment_text(created))
    sequence = max(bucket_sequence, standing.ledger.sequence if standing.ledger is not None else 0) + 1
    collector.roots.record(Ledger(sequence, canary))
    replaced = tuple(was.fingerprint for one in former if (was := control.owner_or_none(one)) is not None)
    _delete_former(control, former)
    return AdoptReport(
        owner=owner_id,
        deployment=owner.deployment,
        location=owner.location,
        kind=owner.kind,
        fingerprint=owner.fingerprint,
        sequence=sequence,
        canary=canary,
        replaced=replaced,
    )


def _write_canary(control: Control, owner_id: str, created: str) -> str:
    """The canary's ref."""
    content = json.dumps(_CANARY).encode("ascii")
    header = {"id": owner_id, "collector": "canary", "codec": "json", "created": created}
    blob = BlobFile(header, [content], level=1, max_raw=len(content))
    name = control.layout.canary(owner_id)
    control.store.put(name, blob)
    return format_ref(
        BlobRef(
            url=f"{control.store.location}/{name}",
            size=blob.size,
            raw=blob.raw,
            digest=blob.blake3,
            seal=blob.seal,
            codec="json",
            about="canary",
        )
    )


def _delete_former(control: Control, former: list[str]) -> None:
    """What stays behind because the store refuses is older than the new owner, and never counts."""
    names = [name for owner in former for name in control.layout.of_owner(owner)]
    if names:
        control.store.delete(names)
