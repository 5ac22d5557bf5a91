"""Mutants of what keeps blobs, in mark and purge."""

from __future__ import annotations

__all__ = ["COLLECTOR"]

_TESTS_1 = ("tests/lifecycle/test_mark.py", "tests/lifecycle/test_purge.py", "tests/lifecycle/test_census.py")
_TESTS_2 = (
    "tests/lifecycle/test_purge.py",
    "tests/lifecycle/test_restore.py",
    "tests/lifecycle/test_hooks.py",
    "tests/lifecycle/test_mark.py",
)
_TESTS_3 = (
    "tests/lifecycle/test_mark.py",
    "tests/lifecycle/test_purge.py",
    "tests/lifecycle/test_census.py",
    "tests/lifecycle/test_shards.py",
    "tests/lifecycle/stateful/test_every_call.py",
)
_TESTS_4 = ("tests/lifecycle/test_purge.py", "tests/lifecycle/test_restore.py", "tests/lifecycle/test_hooks.py")

COLLECTOR = {
    ("lifecycle/census.py", _TESTS_1): [
        ("    WHEN EXISTS (SELECT 1 FROM root WHERE root.id = blob.id) THEN 'live'\n", "", "rows keep nothing"),
        ("    WHEN EXISTS (SELECT 1 FROM pin WHERE pin.id = blob.id) THEN 'pinned'\n", "", "pins keep nothing"),
        ("    WHEN blob.modified >= :cutoff THEN 'young'\n", "", "youth keeps nothing"),
        ("blob.modified >= :cutoff", "blob.modified > :cutoff", "a blob at the cut-off is old"),
        (
            "    WHEN EXISTS (SELECT 1 FROM hidden WHERE hidden.scope = blob.scope) THEN 'hidden'\n",
            "",
            "hidden rows keep nothing",
        ),
        ("WHERE excluded.modified > blob.modified\n", "", "of a repeated name the last time counts"),
        (
            "if found is None or found.deployment != self._layout.deployment:",
            "if found is None:",
            "another deployment's blobs are ours",
        ),
        ("DELETE FROM going WHERE name IN", "DELETE FROM going WHERE name NOT IN", "what a hook spares goes"),
        (
            "WHERE modified < :cutoff GROUP BY scope",
            "WHERE modified > :cutoff GROUP BY scope",
            "addresses of young blobs are asked for",
        ),
        ('self.execute("DELETE FROM former")', "pass", "half a manifest is believed"),
    ],
    ("lifecycle/survey.py", _TESTS_1): [
        ("cutoff = min(run.now, read_at or run.now) -", "cutoff = run.now -", "an export is as young as the run"),
        (
            "- collector.settings.gc_min_age\n    roots",
            "- collector.settings.commit_window\n    roots",
            "the commit window stands for the least age",
        ),
        ("    add_roots(census, roots, collector, cutoff)\n    add_kept", "    add_kept", "no row is read"),
        ("    add_kept(collector, census)\n    _require", "    _require", "pins and hooks are not asked"),
        (
            "    _require_same_owner(collector, run)\n    census",
            "    census",
            "an adoption meanwhile is not noticed",
        ),
        (
            "            census.hide([scope])\n        else",
            "            pass\n        else",
            "blobs without an address are not hidden",
        ),
        (
            '        census.hide(blob_scope(item.address, "")[0] for item in batch if isinstance(item, Hidden))\n',
            "",
            "hidden addresses are passed over",
        ),
        (
            "        if None in roots:\n            refuse(collector, [_no_id()], ())\n",
            "",
            "a hook's text without an id is passed over",
        ),
        ('    census.add_ids("pin", control_of(collector).pins())\n', "", "pins are not read"),
        ("    if standing.owner_id != run.owner:\n", "    if False:\n", "another owner meanwhile is not noticed"),
        (
            "if blob is None or blob.deployment != layout.deployment:",
            "if blob is None:",
            "refs to another deployment are claims",
        ),
        (
            "old = root.updated_at is None or root.updated_at < cutoff",
            "old = root.updated_at is not None and root.updated_at < cutoff",
            "rows without a time are never old",
        ),
        (
            'return address if blob_scope(address, "")[0] == scope else None',
            "return address",
            "a header's address need not be that of its name",
        ),
        ("canary_read=census.has_root(run.owner)", "canary_read=True", "the canary is always read"),
        (
            "canary_listed=layout.canary(run.owner) in census.canaries",
            "canary_listed=bool(census.canaries)",
            "any canary will do",
        ),
    ],
    ("lifecycle/quarantine.py", _TESTS_2): [
        ("    AND former.size = blob.size\n", "", "a blob of another size is the same"),
        ("    AND former.modified = blob.modified\n", "", "a blob of another time is the same"),
        (
            "    WHERE {_SAME}\n    AND NOT {_RESTORED}\n",
            "    WHERE {_SAME}\n",
            "restored blobs keep their first mark",
        ),
        (
            "    AND NOT {_RESTORED}\n    AND first_marked <= :matured",
            "    AND first_marked <= :matured",
            "restored blobs are purged",
        ),
        ("    AND first_marked <= :matured\n", "", "there is no quarantine"),
        ("    AND first_marked < :readable\n", "", "an export of any age is good enough"),
        ("(read_at - quarantine - max_skew)", "(read_at - quarantine + max_skew)", "an export's skew is added"),
        (
            'if header.state != "concluded":\n                continue',
            "if False:\n                continue",
            "refused marks are carried on",
        ),
        ("if header.owner != run.owner or run.now", "if run.now", "a former owner's marks are carried on"),
        (" or run.now - header.t0 > OLDEST_MANIFEST:", ":", "marks of any age are carried on"),
        ("            census.forget_former()\n", "", "half a manifest is carried on"),
        (
            '        census.add_ids("restored", control.restored(since=header.t0))\n',
            "",
            "restored ids are not read by a mark",
        ),
        (
            "FROM blob WHERE verdict = 'marked'\n",
            "FROM blob WHERE verdict <> 'live'\n",
            "all but live blobs are marked",
        ),
        (
            "_SAME} WHERE verdict = 'marked'\"",
            "_SAME} WHERE verdict <> 'pinned'\"",
            "purge does not ask what is live now",
        ),
    ],
    ("lifecycle/mark.py", _TESTS_3): [
        ("        load_former(control, run, census)\n", "", "every mark begins anew"),
        ("    if control.run_named(run.name).has_manifest:\n", "    if False:\n", "a run is concluded twice"),
        ('"refused" if refusals else "concluded"', '"concluded"', "a refused mark is called concluded"),
        (
            "    refuse(collector, refusals, ())\n    control.prune",
            "    control.prune",
            "a refused mark raises nothing",
        ),
        ("    if missing:\n", "    if False:\n", "shards may be missing"),
        ('or header.get("run") != run.name ', "", "another run's shards are taken"),
        (
            "ledger is None or ledger.sequence < run.sequence:",
            "ledger is None:",
            "a ledger that went back is not noticed",
        ),
        (
            "    collector.roots.record(Ledger(ledger.sequence + 1, ledger.canary))\n",
            "",
            "the number goes up only once",
        ),
        (
            "return max(run.now, control.roots_read(run.name, ledger.sequence + 1))",
            "return run.now",
            "the quarantine counts from the marker",
        ),
    ],
    ("lifecycle/purge.py", _TESTS_4): [
        ("        _ask_hooks(collector, census)\n", "", "hooks are not asked"),
        ("        if not delete:\n            return report\n", "", "a report deletes"),
        (
            "    refuse(collector, refusals, run.accepted)\n    if header is None",
            "    if header is None",
            "any manifest is acted upon",
        ),
        (
            '    census.add_ids("restored", control.restored(since=header.t0))\n',
            "",
            "restored ids are not read by a purge",
        ),
        ("        if not allowed <= set(batch):\n", "        if False:\n", "a hook may add blobs"),
        ("if candidate not in allowed)", "if False)", "hooks are asked in vain"),
        (
            "kept = {*control.pins(), *control.restored(since=run.now)}",
            "kept = {*control.restored(since=run.now)}",
            "pins of the last minute are not seen",
        ),
        (
            "kept = {*control.pins(), *control.restored(since=run.now)}",
            "kept = {*control.pins()}",
            "what is restored in the last minute goes",
        ),
        ("        control.write_intent(run.name, number, names)\n", "", "no intent is written down"),
        ("        control.write_result(run.name, number, report)\n", "", "no result is written down"),
        ("if candidate.name in gone]\n", "]\n", "what failed is counted as deleted"),
        (
            "            if candidate.name not in gone:\n",
            "            if candidate.name in report.failed:\n",
            "silence is consent",
        ),
        ("    if report.failed:\n        reasons", "    if False:\n        reasons", "failures are not told"),
        ("with_manifest[-1]", "with_manifest[0]", "the oldest manifest counts"),
        (
            "            outcome.unfinished += len(batch)\n            continue\n",
            "            outcome.unfinished += len(batch)\n",
            "a store that is down is asked on and on",
        ),
        ("run.now - collector.settings.gc_min_age)", "run.now)", "files of uploads under way are swept"),
        ("        rescue(collector, control, census)\n", "", "what was rescued is not written down"),
        (
            "[*about_findings(findings), *about_deletion(findings)]",
            "[*about_deletion(findings)]",
            "purge does not look at what was listed and read",
        ),
        (
            "[*about_findings(findings), *about_deletion(findings)]",
            "[*about_findings(findings)]",
            "purge does not look at how much goes",
        ),
    ],
}
