"""Mutants of what keeps blobs, in the other verbs and in the reclaimer."""

from __future__ import annotations

__all__ = ["VERBS"]

_TESTS_1 = ("tests/lifecycle/test_restore.py",)
_TESTS_2 = (
    "tests/lifecycle/test_mark.py",
    "tests/lifecycle/test_purge.py",
    "tests/lifecycle/test_census.py",
    "tests/lifecycle/test_restore.py",
    "tests/lifecycle/test_records.py",
    "tests/lifecycle/stateful/test_every_call.py",
)
_TESTS_3 = (
    "tests/lifecycle/test_mark.py",
    "tests/lifecycle/test_purge.py",
    "tests/lifecycle/test_census.py",
    "tests/lifecycle/test_refusals.py",
    "tests/lifecycle/stateful/test_every_call.py",
)
_TESTS_4 = ("tests/lifecycle/test_verify.py",)
_TESTS_5 = ("tests/lifecycle/test_expire.py",)
_TESTS_6 = ("tests/lifecycle/test_erase.py",)
_TESTS_7 = ("tests/inner/test_reclaimer.py", "tests/inner/test_spared_refs.py")

VERBS = {
    ("lifecycle/restore.py", _TESTS_1): [
        ("if strange or not wanted:", "if strange:", "no ids at all are fine"),
        (
            "    record = control.write_restored(wanted, collector.clock())\n    known",
            "    record = ''\n    known",
            "restored ids are not written down",
        ),
        ("        control.write_pin(blob_id, collector.clock())\n", "        pass\n", "pins are not written"),
        ("    if report.failed:\n", "    if False:\n", "a pin that stays is not told of"),
        ("if not _ID.fullmatch(blob_id)]", "if not _ID.match(blob_id)]", "half an id is one"),
    ],
    ("lifecycle/control.py", _TESTS_2): [
        (
            "if info.modified >= since:",
            "if info.modified > since:",
            "what is restored in the marker's moment is not seen",
        ),
        (
            "counted=max(self.counted, int(again[1])) if again else self.counted",
            "counted=self.counted",
            "the second number is not counted",
        ),
        (
            'if next(lines, {}).get("offload_restored") != 1:',
            "if next(lines, {}) is None:",
            "restored ids of any format are read",
        ),
        (
            "self.runs()[:-KEPT_RUNS] if run.name != concluded]",
            "self.runs()[:-KEPT_RUNS]]",
            "the concluded run is pruned",
        ),
        ("if info.modified < before]", "]", "all records of restored ids are pruned"),
        ("            if len(data) > _LARGEST:\n", "            if False:\n", "a record of any size is read"),
    ],
    ("lifecycle/adopt.py", _TESTS_3): [
        ("    refuse(collector, about_adoption(standing), accept)\n", "", "an adoption refuses nothing"),
        (
            "    collector.roots.record(Ledger(sequence, canary))\n",
            "",
            "the database does not learn of its adoption",
        ),
        (
            "max(bucket_sequence, standing.ledger.sequence if standing.ledger is not None else 0) + 1",
            "1",
            "an adoption counts from one",
        ),
        ("    _delete_former(control, former)\n", "", "former owners stay"),
    ],
    ("lifecycle/verify.py", _TESTS_4): [
        (
            "    except BlobNotFoundError:\n        return False\n",
            "    except BlobNotFoundError:\n        return True\n",
            "no blob is gone",
        ),
        ("        if problem:\n", "        if False:\n", "what is wrong with a blob is not told"),
        (
            '    add_roots(census, roots, collector, _ALL, claims="again")\n',
            "    census.execute('INSERT INTO again SELECT * FROM claim')\n",
            "rows are not read again",
        ),
    ],
    ("lifecycle/expire.py", _TESTS_5): [
        ("now = min(clock(), rows.now())", "now = max(clock(), rows.now())", "the clock that is ahead counts"),
        (
            "removed = rows.remove(due) if delete else due",
            "rows.remove(due) if delete else due; removed = due",
            "rows that stay lose their blobs",
        ),
        ("    require_owner(collector)\n    # A clock", "    # A clock", "a restored database's rows expire"),
        ("named.values()} - report.held.keys()", "named.values()}", "blobs that are named elsewhere go with a row"),
        ('    if collector.settings.reclaim == "never":\n', "    if False:\n", "`reclaim = never` is passed over"),
        (
            "    if blob is not None and blob.is_of(found):\n",
            "    if blob is not None:\n",
            "a copied ref loses its blob",
        ),
        (
            "found.row.expires_at is not None and found.row.expires_at < now]",
            "found.row.expires_at is not None]",
            "rows that are not due go",
        ),
    ],
    ("lifecycle/holders.py", _TESTS_5 + _TESTS_6): [
        ("        if isinstance(root, Hidden):\n", "        if False:\n", "hidden rows are passed over"),
        (", **pinned(collector, ids)}", "}", "pins hold nothing"),
        ("{**_named_by_hooks(collector, ids), ", "{", "hooks hold nothing"),
        (
            "held.update({blob_id: root.holder for blob_id in root.ids if blob_id in ids})",
            "pass",
            "rows hold nothing",
        ),
    ],
    ("lifecycle/erase.py", _TESTS_6): [
        ("if meant and not found.archived:", "if meant:", "archived rows are removed"),
        ("if name is not None and selection.has_blob(name):", "if name is not None:", "neighbours' blobs go"),
        ("            if report.refusals:\n", "            if False:\n", "young blobs go"),
        (
            "self._delete(blobs, self._held(blobs), report)",
            "self._delete(blobs, survey.held, report)",
            "rows are not read again before blobs go",
        ),
        (
            "    return [info for blob_id, info in blobs.items() if blob_id not in held]",
            "    return list(blobs.values())",
            "blobs that other rows name go",
        ),
        (
            "now = min(self.clock(), self.rows.now())",
            "now = max(self.clock(), self.rows.now())",
            "a clock that is ahead makes blobs old",
        ),
        (
            "gone = [info for info in some if info.name in deleted]",
            "gone = list(some)",
            "what failed is told as erased",
        ),
    ],
    ("reclaimer.py", _TESTS_7): [
        (
            '        return known.row[0].startswith("task/")\n',
            "        return True\n",
            "refs of assets that were only read are dead",
        ),
        ("    return known.writer == asked_by\n", "    return True\n", "another writer's refs are dead"),
        ("_KEPT_WHILE_RUNNING = 2", "_KEPT_WHILE_RUNNING = 1", "one newest ref is spared"),
        ("before = min(current.met, spared[0])", "before = current.met", "the newest refs are not spared"),
        ("before = min(current.met, spared[0])", "before = spared[0]", "what is newer than the row's ref is dead"),
        (
            "if current is not None and current.writer == asked_by:",
            "if current is not None:",
            "another writer's row proves something",
        ),
        (
            'if is_ref(named) and not row[0].startswith("asset/"):',
            "if False:",
            "an unknown ref in a task's row proves something",
        ),
        (
            "        return current.met\n    if",
            "        return known.last_write + 1\n    if",
            "at the end, all that is known is dead",
        ),
        (
            "known.writer is not None and known.writer.is_done()",
            "known.writer is not None",
            "a writer that lives is taken for ended",
        ),
        (
            "            if writer is None and text in refs:\n                return\n",
            "",
            "what was written and read counts as read",
        ),
        (
            "            self._refs = KnownRefs()\n        return",
            "            pass\n        return",
            "a fork goes on with its parent's refs",
        ),
        (
            "lambda known: known.row[0] == scope and _is_past(known, asked_by)",
            "lambda known: _is_past(known, asked_by)",
            "a clear takes other addresses' refs",
        ),
    ],
}
