"""Outside of Airflow: what do the rows hold, and is it what the tasks say they were told?"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from offload_backend.errors import OffloadError
from offload_backend.offloader import Offloader
from offload_backend.row import open_envelope
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from tests.airflow.rows import AssetRow, TaskRow
from tests.load.journal import remembered
from tests.load.places import BUCKET, CREDENTIALS, PREFIX
from tests.load.proofs import WrongValueError, claim_of
from tests.soak.site import Site
from tests.soak.witness import KEYS, journal_of, writer_of


@dataclass
class Findings:
    """``rows`` were looked at, ``offloaded`` of them name blobs; ``lost`` tells of each that is not right."""

    rows: int = 0
    offloaded: int = 0
    lost: list[str] = field(default_factory=list)


class Oracle:
    def __init__(self, site: Site) -> None:
        self.site = site
        options = {"endpoint_url": site.storage.endpoint, **CREDENTIALS}
        settings = Settings.load(
            {"path": f"s3://{BUCKET}/{PREFIX}", "storage_options": json.dumps(options), "deployment": "soak"}
        )
        self._offloader = Offloader(settings, lambda path: open_store(path, settings))

    def look(self) -> Findings:
        """Every row that is there resolves to what it has to; and every row is there that has to be."""
        found = Findings()
        rows = self.site.database.rows()
        seen = set()
        for row in rows.task:
            writer = writer_of(row.dag_id, row.run_id, row.task_id, row.map_index)
            seen.add((writer, row.key))
            self._judge(row, writer, found)
        for asset_row in rows.asset:
            self._judge(asset_row, "watcher" if asset_row.name == "soak_feed" else "", found)
        self._miss(seen, found)
        return found

    def _judge(self, row: TaskRow | AssetRow, writer: str, found: Findings) -> None:
        found.rows += 1
        found.offloaded += "__airflow_state_ref__" in row.value and "#offload=" in row.value
        try:
            claim = claim_of(self._offloader.resolve(_text_of(row)), row.key)
        except (OffloadError, WrongValueError) as error:
            found.lost.append(f"{writer} {row.key}: {error}")
            return
        if writer and claim.writer != writer:
            found.lost.append(f"{writer} {row.key}: holds a value of {claim.writer}")
        elif row.key in KEYS:
            expected = remembered(journal_of(self.site.journals, writer), KEYS).keys[row.key]
            if not expected.may_be(claim.count):
                found.lost.append(f"{writer} {row.key}: is {claim.count}, not {expected}")

    def _miss(self, seen: set[tuple[str, str]], found: Findings) -> None:
        """Rows of runs that still exist, which their tasks were told are written and nobody has deleted."""
        runs = {(dag_id, run_id) for dag_id, run_id in self.site.database.sql("SELECT dag_id, run_id FROM dag_run")}
        for path in self.site.journals.glob("*~*.journal"):
            dag_id, run_id, *_ = path.stem.split("~")
            if (dag_id, run_id) not in runs:
                continue
            for key, expected in remembered(path, KEYS).keys.items():
                if not expected.may_be(None) and (path.stem, key) not in seen:
                    found.lost.append(f"{path.stem} {key}: has no row, and had {expected}")

    def orphans(self) -> int:
        """Blobs that no row, and no archive of Airflow's, names."""
        archives = [name for name in self.site.database.tables() if name.startswith("_airflow_deleted__task_state")]
        rows = self.site.database.rows()
        texts = [row.value for row in (*rows.task, *rows.asset)]
        for name in archives:
            texts += [value for (value,) in self.site.database.sql(f"SELECT value FROM {name}")]
        named = "\n".join(texts)
        blobs = [name for name in self.site.storage.names() if "/_gc/" not in name]
        return sum(name.rpartition("/")[2].partition(".")[0] not in named for name in blobs)


def _text_of(row: TaskRow | AssetRow) -> Any:
    value = json.loads(row.value)
    text = open_envelope(value)
    return row.value if text is None else text
