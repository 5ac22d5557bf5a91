"""Mutants of what keeps secrets to itself, and of what names the right that is missing."""

from __future__ import annotations

__all__ = ["SECRETS"]

_RIGHTS = ("tests/security/test_rights.py", "-k", "put_object or delete_object")
_CANARIES = ("tests/security/test_canaries.py", "-k", "wrong_place or endpoint or what_it_was_to_store")

SECRETS = {
    ("stores/s3_errors.py", _RIGHTS): [
        ('    "PutObject": "s3:PutObject",\n', "", "no right is named to who may not put"),
    ],
    ("stores/s3_errors.py", ("tests/stores/test_retries.py",)): [
        (
            "        self.code = _in_one_line(code)\n",
            "        self.code = code\n",
            "a store writes lines of its own into the log",
        ),
    ],
    ("stores/s3_delete.py", _RIGHTS): [
        ("if is_denied(code) else", "if False else", "no right is named where a key of a batch stays"),
    ],
    ("stores/fsspec_errors.py", _CANARIES): [
        (
            "        raise _translated(error, doing, location) from None\n",
            "        raise _translated(error, doing, location) from error\n",
            "a driver's own words about its options are shown",
        ),
    ],
    ("stores/s3.py", _CANARIES): [
        (
            "        refuse_user_in(client.meta.endpoint_url)\n",
            "",
            "boto3 quotes the password in an endpoint's URL",
        ),
    ],
    ("settings/values.py", _CANARIES): [
        ('    if mark and ":" in user:\n', "    if False:\n", "settings show the password in a path"),
    ],
    ("corestores/engine.py", _CANARIES): [
        ('"hide_parameters": True', '"hide_parameters": False', "a failing database quotes the value"),
    ],
}
