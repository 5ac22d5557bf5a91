"""Deliberate defects: one for each reason to keep a blob, to refuse a run, or not to believe what is read."""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutation.of_adapters import ADAPTERS
from tests.mutation.of_blobs import BLOBS
from tests.mutation.of_checkpointer import CHECKPOINTER
from tests.mutation.of_clouds import CLOUDS
from tests.mutation.of_collector import COLLECTOR
from tests.mutation.of_doctor import DOCTOR
from tests.mutation.of_encryption import ENCRYPTION
from tests.mutation.of_faults import FAULTS
from tests.mutation.of_hostile import HOSTILE
from tests.mutation.of_isolation import ISOLATION
from tests.mutation.of_looking import LOOKING
from tests.mutation.of_migrating import MIGRATING
from tests.mutation.of_mysql import MYSQL
from tests.mutation.of_observing import OBSERVING
from tests.mutation.of_reading import READING
from tests.mutation.of_refusals import REFUSALS
from tests.mutation.of_rewriting import REWRITING
from tests.mutation.of_secrets import SECRETS
from tests.mutation.of_testing import TESTING
from tests.mutation.of_ui import UI
from tests.mutation.of_verbs import VERBS
from tests.mutation.of_waiting import WAITING

__all__ = ["EQUIVALENT", "MUTANTS", "Mutant"]

EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "offload_backend/corestores/rootdatabase.py",
        "values that are bytes are passed over",
    ): "`LIKE` reads bytes as well, unless SQLite was built with `SQLITE_LIKE_DOESNT_MATCH_BLOBS`",
}
"""Why a mutant that survives is no defect, by file and what it says."""


@dataclass(frozen=True)
class Mutant:
    """``old`` stands exactly once in ``file``; with ``new`` in its place some of ``tests`` must fail."""

    file: str
    old: str
    new: str
    what: str
    tests: tuple[str, ...]


MUTANTS = [
    Mutant(f"offload_backend/{file}", old, new, what, tests)
    for group in (
        REFUSALS,
        COLLECTOR,
        DOCTOR,
        VERBS,
        REWRITING,
        MIGRATING,
        ADAPTERS,
        MYSQL,
        BLOBS,
        CHECKPOINTER,
        CLOUDS,
        ENCRYPTION,
        FAULTS,
        HOSTILE,
        ISOLATION,
        LOOKING,
        OBSERVING,
        READING,
        SECRETS,
        UI,
        WAITING,
        TESTING,
    )
    for (file, tests), entries in group.items()
    for old, new, what in entries
]
