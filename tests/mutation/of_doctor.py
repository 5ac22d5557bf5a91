"""Mutants of what ``offload doctor`` tells, and of what it leaves alone."""

from __future__ import annotations

__all__ = ["DOCTOR"]

_CHECKS = ("tests/cli/test_doctor.py",)
_BUCKET = ("tests/cli/test_doctor_s3.py", "-k", "rule or upload or version or date or dead or hide")
_TROUBLE = ("tests/cli/test_airflow_trouble.py",)
_RIGHTS = ("tests/security/test_doctor_rights.py", "-k", "named and direct or policy and direct")

DOCTOR = {
    ("diagnosis/bucketrules.py", _BUCKET): [
        ("if upload.initiated < now - age]", "]", "uploads that run are aborted"),
        (
            "found = [upload for upload in listed if _is_ours(case, upload)]",
            "found = listed",
            "uploads of others are aborted",
        ),
        (
            "return not rule.tagged and (ours.startswith(rule.prefix) or rule.prefix.startswith(ours))",
            "return not rule.tagged and ours.startswith(rule.prefix)",
            "a rule that deletes some of the blobs is called harmless",
        ),
        (
            " if ours.startswith(rule.prefix) and not rule.tagged and not rule.sized]",
            "]",
            "a rule for other objects is taken for one that removes leftovers",
        ),
        ('if error.reason in ("denied", "failed"):', "if False:", "what may not be seen is called a failure"),
    ],
    ("diagnosis/configured.py", _CHECKS): [
        (
            "return path if not path or is_location(path) else",
            "return path if path else",
            "a path is shown with its password",
        ),
    ],
    ("diagnosis/access.py", _CHECKS): [
        ("if found == wanted:", "if len(found) == len(wanted):", "other bytes are taken for those that were put"),
        ("if info.modified < now - _OLD]", "]", "the probe of another run is deleted"),
        ("            self._may_be_there = True\n", "", "a probe stays behind"),
    ],
    ("diagnosis/case.py", _BUCKET): [
        (
            '            self.close("path", f"the store was not reached: {error.message}")\n',
            "            pass\n",
            "a dead store is waited for by each check",
        ),
    ],
    ("diagnosis/places.py", _CHECKS): [
        (
            '    case.close("path", f"{directory} is no directory")  # a probe would make it\n',
            "",
            "where a file system should be mounted, a directory is made",
        ),
    ],
    ("diagnosis/finding.py", _CHECKS): [
        (
            "return str(without_text(error)) if",
            "return str(error) if",
            "the text of any error is shown",
        ),
        ("    thread.join(seconds)\n", "    thread.join()\n", "a check that stalls is waited for"),
    ],
    ("diagnosis/refs.py", _CHECKS): [
        ("        if not tally.complete:\n", "        if False:\n", "rows that were not looked at are called well"),
        (
            'url = without_user(text.partition("#")[0])',
            'url = text.partition("#")[0]',
            "a place that only the peer's refs lead to may go",
        ),
        (
            "without_user(ref.url) if isinstance(ref, PeerRef) else ref.url",
            "ref.url",
            "a ref of the peer's that names a connection cannot be read",
        ),
    ],
    ("cli/installed.py", _TROUBLE): [
        (
            "@cache\ndef _trouble_at_start",
            "def _trouble_at_start",
            "what keeps Airflow from starting is told but once",
        ),
        (
            "        raise explained(error) from None\n",
            "        raise\n",
            "a setting of Airflow's ends in a traceback",
        ),
        ('hint=f"{mend if provider else', 'hint=f"{mend if not provider else', "a missing driver is not named"),
    ],
    ("cli/examining.py", _RIGHTS): [
        (
            "return 2 if any(finding.setting for finding in failures) else 1 if failures else 0",
            "return 2 if any(finding.setting for finding in failures) else 0",
            "a failure is exit code 0",
        ),
    ],
}
