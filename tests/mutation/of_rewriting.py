"""Mutants of what keeps values and blobs while rows are rewritten."""

from __future__ import annotations

__all__ = ["REWRITING"]

_TESTS_1 = ("tests/lifecycle/test_rewrite.py", "-k", "not postgres")
_TESTS_2 = ("tests/contracts/test_removable_rows.py", "-k", "TestSqliteFile or TestMemory")

_TESTS_3 = ("tests/cli/test_rekey.py",)
_BETWEEN = ("tests/cli/test_migrate.py", "-k", "just_read")
_FORBIDDEN = ("tests/state/test_trouble.py", "-k", "forbidden")
_WORKERS = ("tests/airflow/test_reclaiming_reads.py",)
_TESTS_4 = ("tests/contracts/test_removable_rows.py", "-k", "pages_of_airflows and sqlite")

REWRITING = {
    ("lifecycle/rewrite.py", _TESTS_1): [
        ("    require_owner(collector)\n", "", "a copied database's rows are rewritten"),
        (
            "for each in stored if each not in won and each.remade",
            "for each in stored if False and each.remade",
            "what was stored in vain stays",
        ),
        (
            "won = {each for each in ready if id(each.found) in replaced}",
            "won = set(ready)",
            "the blob of a row that was written anew goes",
        ),
        (
            "ready = [each for each in stored if not self._is_late(each)]",
            "ready = stored",
            "what began too long ago is committed",
        ),
        (
            "        self._put_back(overdue)\n",
            "",
            "what was committed too late stays",
        ),
        (
            "            if each.remade and self._is_there(each.need)\n",
            "            if each.remade\n",
            "a row names again what has been purged",
        ),
        (
            "        for each in won - overdue:\n",
            "        for each in won:\n",
            "the blob of a row that was put back goes",
        ),
        (
            "made.need.blob and made.need.change is Change.VALUE:\n",
            "made.need.blob:\n",
            "a blob goes that its row still names",
        ),
        (
            "            if id(each.found) not in there or each.error is None:\n",
            "            if each.error is None:\n",
            "a row that moved on is a failure",
        ),
        (
            "        if self._trouble >= ENOUGH_TROUBLE:\n",
            "        if False:\n",
            "a dead store is asked for each row",
        ),
        ("with self._large if need.weight > LARGE else", "with", "large blobs are copied side by side"),
    ],
    ("lifecycle/named.py", _TESTS_1): [
        ("    return blob if blob and blob.is_of(found) else None", "    return blob", "a copied ref is rewritten"),
    ],
    ("lifecycle/superseded.py", _TESTS_1): [
        (
            'if self._grace is None or self._collector.settings.reclaim == "never":\n',
            "if self._grace is None:\n",
            "`reclaim = never` is passed over",
        ),
        (
            "        elif found.row.updated_at >= self._old:\n",
            "        elif False:\n",
            "the blob of a young row goes",
        ),
        (
            "self._old = min(collector.clock(), rows.now())",
            "self._old = max(collector.clock(), rows.now())",
            "a clock that is ahead makes rows old",
        ),
        ("(time.monotonic() + self._grace, blob)", "(time.monotonic(), blob)", "old blobs have no grace"),
        (
            "[blob.name for blob in due if blob.parts.id not in held]",
            "[blob.name for blob in due]",
            "old blobs go that are named elsewhere",
        ),
    ],
    ("corestores/unchanged.py", _TESTS_2): [
        (
            "was = (row.row.text, row.row.expires_at, row.row.updated_at)",
            "was = (found and found.value, row.row.expires_at, found and found.updated_at)",
            "a row that was written anew is replaced",
        ),
        (
            "was = (row.row.text, row.row.expires_at, row.row.updated_at)",
            "was = (row.row.text, row.row.expires_at, found and found.updated_at)",
            "a row that was written again with the same text is replaced",
        ),
        (
            "    change = update(table).where(here)",
            "    change = update(table)",
            "a row's text goes into all rows",
        ),
    ],
    ("corestores/unchanged.py", _TESTS_4): [
        ("or_(*behind)", "behind[0]", "pages leave rows out"),
    ],
    ("corestores/memory.py", _TESTS_2): [
        (
            "                if row := self._unchanged(found):\n"
            "                    self._rows[row.address, row.key] = replace",
            "                if row := self._rows.get((found.row.address, found.row.key)):\n"
            "                    self._rows[row.address, row.key] = replace",
            "a row that was written anew is replaced",
        ),
    ],
    ("namespace.py", _BETWEEN): [
        (
            "                    if current is not None and current.text == row.text:\n",
            "                    if True:\n",
            "a value that moved on is lost to who has just read its row",
        ),
    ],
    ("namespace.py", _FORBIDDEN): [
        (
            "if may_be_gone(error) else row",
            "if isinstance(error, BlobNotFoundError) else row",
            "a blob that went while it was read is forbidden",
        ),
    ],
    ("airflow/rows.py", _WORKERS): [
        (
            "    if _HASHED in blob.key:\n",
            '    if running("ti") is None or _HASHED in blob.key:\n',
            "in a trigger no row is read again",
        ),
    ],
    ("airflow/worker.py", _WORKERS): [
        ("now.named in (None, text) or", 'now.named in (None, "", text) or', "a value in a plain row is not found"),
        (
            "blob = self._offloader.blob_read(text)",
            "blob = self._offloader.blob_of(text)",
            "a value that moved to another place is not found",
        ),
    ],
    ("lifecycle/rekey.py", _TESTS_3): [
        ("        self._signatures.check(ref)\n", "", "a forged ref is made good"),
        ("if self._settings.encryption_keys and parsed.key != self._key:", "if False:", "blobs keep their keys"),
        (
            "        self._require_readable(ref)\n        return Need",
            "        return Need",
            "a dry run does not foresee what tasks refuse",
        ),
        (
            "self._settings.signing_keys and signature_of(ref) is None",
            "False",
            "what unsigned_refs makes unreadable is not foreseen",
        ),
        (
            "        return Change.NONE if is_signed else Change.TEXT\n",
            "        return Change.NONE\n",
            "refs keep their signatures",
        ),
    ],
    ("lifecycle/copying.py", _TESTS_3): [
        (
            "    for size in frames or [source.size]:\n",
            "    for size in [source.size]:\n",
            "a value is copied in one piece",
        ),
    ],
}
