"""Mutants of what makes a run refuse."""

from __future__ import annotations

__all__ = ["REFUSALS"]

_TESTS_1 = ("tests/lifecycle/test_refusals.py", "tests/lifecycle/test_purge.py")

REFUSALS = {
    ("lifecycle/refusals.py", _TESTS_1): [
        ("LEAST_MIN_AGE = timedelta(hours=24)", "LEAST_MIN_AGE = timedelta(hours=23)", "a least age of 23 h"),
        ("OLDEST_MANIFEST = timedelta(days=30)", "OLDEST_MANIFEST = timedelta(days=31)", "older manifests count"),
        (
            "sorted(set(accept) - ACCEPTABLE)",
            'sorted(set(accept) - ACCEPTABLE - {"owner"})',
            "`owner` may be accepted",
        ),
        ("_commit_window, _owner,", "_commit_window,", "the owner is not looked at"),
        ("_owner, _ledger,", "_owner,", "the ledger is not looked at"),
        ("_ledger, _sequence,", "_ledger,", "the sequence is not looked at"),
        ("[*_skew(clocks), *_export", "[*_export", "the clocks' skew is not looked at"),
        ("*_export_from_the_future(clocks), ", "", "exports from the future are taken"),
        (", *_backwards(clocks)]", "]", "a clock that was set back is not noticed"),
        ('if header.state != "concluded":', 'if header.state == "nothing":', "a refused mark is acted upon"),
        ("if header.deployment != deployment:", "if False:", "another deployment's manifest is acted upon"),
        ("if header.location != location:", "if False:", "another location's manifest is acted upon"),
        ("if header.owner != owner:", "if False:", "a former owner's manifest is acted upon"),
        ("if now - header.t0 > OLDEST_MANIFEST:", "if False:", "any old manifest is acted upon"),
        (
            "    if header is None:\n        return [",
            "    if header is None:\n        return [] and [",
            "no manifest is needed",
        ),
        ("    if unknown:\n", "    if False:\n", "any rule may be accepted"),
        ("if refusal.rule not in accept]", "if not accept]", "one accepted rule accepts all"),
        ('if not url.path and url.scheme != "memory":', "if False:", "a whole bucket may be collected"),
        ("if age < LEAST_MIN_AGE:", "if False:", "blobs of any age go"),
        ("if age <= window:", "if age < window:", "a least age of just the commit window"),
        (
            "if owner.deployment != standing.settings.deployment:",
            "if False:",
            "the owner's deployment is not compared",
        ),
        ("if owner.location != standing.location:", "if False:", "the owner's location is not compared"),
        ("if owner.kind != origin.kind:", "if False:", "the database's kind is not compared"),
        ("if owner.fingerprint != origin.fingerprint:", "if False:", "a clone's collector is let in"),
        (
            "if standing.ledger is None:\n        yield",
            "if False:\n        yield",
            "a database without a ledger is taken",
        ),
        (
            "elif standing.canary != standing.owner_id:",
            "elif False:",
            "another owner's canary in the ledger is taken",
        ),
        ("if standing.origin.replica:", "if False:", "a replica is read"),
        ("if abs(clocks.skew) > clocks.max_skew:", "if clocks.skew > clocks.max_skew:", "a clock may be behind"),
        ("if abs(clocks.skew) > clocks.max_skew:", "if -clocks.skew > clocks.max_skew:", "a clock may be ahead"),
        (
            "and clocks.now < clocks.previous - clocks.max_skew:",
            "and clocks.now < clocks.now:",
            "a marker may be older than the last",
        ),
        (
            "< clocks.previous - clocks.max_skew:",
            "< clocks.previous - 2 * clocks.max_skew:",
            "a marker may be older by twice the skew",
        ),
        (
            "sorted(set(accept) - ACCEPTABLE)",
            'sorted(set(accept) - ACCEPTABLE - {"canary-read", "sequence"})',
            "`canary-read` and `sequence` may be accepted",
        ),
    ],
    ("lifecycle/preflight.py", _TESTS_1): [
        (
            "    refuse(collector, about_standing(standing), accept)\n    ledger",
            "    ledger",
            "nothing is looked at before a run",
        ),
        ("    refuse(collector, about_clocks(clocks), accept)\n", "", "the clocks are not looked at"),
        ("sequence = ledger.sequence + 1\n", "sequence = ledger.sequence\n", "the run's number is not a new one"),
        ("max((run.counted for run in runs), default=0)", "0", "the bucket's runs are not counted"),
        (
            "max((run.began for run in runs if run.began is not None), default=None)",
            "None",
            "the run before is not looked at",
        ),
        (
            "owner_id=owners[-1] if owners else None",
            "owner_id=owners[0] if owners else None",
            "the oldest owner counts",
        ),
        ("if owner is not None and name == layout.canary(owner) else None", "", "a canary elsewhere is taken"),
        (
            "    except OffloadError:\n        return None\n    name",
            "    except OffloadError:\n        raise\n    name",
            "a canary that is no ref is an error of another kind",
        ),
        (
            '        found.append(raised("on_refused", error))\n',
            "        pass\n",
            "a hook that raises at a refusal is not told of",
        ),
        ("        refuse(collector, [raised(method, error)], ())\n", "", "a hook that raises is no refusal"),
        ("    if now < before:\n        return before - now\n", "", "a clock that is ahead is not measured"),
        (
            "return after - now if now > after else timedelta(0)",
            "return timedelta(0)",
            "a clock that is behind is not measured",
        ),
    ],
    ("lifecycle/measures.py", _TESTS_1): [
        ("(_canary_not_listed, ", "(", "a listing without the canary is taken"),
        ("_canary_not_read, _no_roots", "_no_roots", "roots without the canary are taken"),
        ("_no_roots, _match)", "_match)", "no roots at all are taken"),
        ("_no_roots, _match)", "_no_roots)", "refs that are not listed are taken"),
        ("in (_ratio, _count) for", "in (_count,) for", "any share may go"),
        ("in (_ratio, _count) for", "in (_ratio,) for", "any number may go"),
        ("FEW = 10", "FEW = 11", "one more than a few may go whatever their share"),
        ("LOST = 2", "LOST = 3", "three refs may dangle"),
        (
            "few = missing <= LOST and findings.old_refs_found",
            "few = missing <= LOST",
            "a few refs may all be missing",
        ),
        ("(1 - findings.limits.min_match)", "0.5", "half of the refs may be missing"),
        (
            "findings.limits.max_ratio * findings.listed)",
            "2 * findings.limits.max_ratio * findings.listed)",
            "twice the share may go",
        ),
        (
            "if findings.going > findings.limits.max_count:",
            "if findings.going > findings.limits.max_count + 1:",
            "one more than allowed may go",
        ),
        (
            "if findings.old_blobs and not findings.refs:",
            "if findings.old_blobs and not findings.old_refs_found + findings.listed:",
            "no roots and old blobs are taken",
        ),
    ],
}
