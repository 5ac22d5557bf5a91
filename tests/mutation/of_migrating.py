"""Mutants of what keeps values while they move in, from place to place, and out again."""

from __future__ import annotations

__all__ = ["MIGRATING"]

_IN = ("tests/lifecycle/test_migrate.py",)
_OUT = ("tests/lifecycle/test_migrate_out.py",)
_BOTH = (*_IN, *_OUT)

MIGRATING = {
    ("lifecycle/migrate.py", _IN): [
        (
            "        require_own(is_own(self._settings, found), (old.parts.scope, old.parts.key))\n",
            "",
            "a ref of other state is made good by moving it",
        ),
        ("        self._signatures.check(need.text)\n", "", "a forged ref is made good by moving it"),
        (
            "blob if blob.is_of(found) else None",
            "blob",
            "what was stored for another row counts as superseded by a move",
        ),
        (
            "return old is not None and (new is None or len(self._new) < len(self._old))",
            "return old is not None",
            "a place within the old one is taken for it",
        ),
        (
            "        if self._old == self._new or self._old not in paths:\n",
            "        if self._old not in paths:\n",
            "blobs move to where they are",
        ),
        (
            "whole = row_text(text) if enveloped(found) is None else envelope(text)",
            "whole = row_text(text)",
            "a small value of the peer's does not go to the backend any more",
        ),
        (
            "scopes = peer_scopes(need.text) if is_ref(need.text) else []",
            "scopes = []",
            "an asset's value moves from its uri to its name",
        ),
    ],
    ("lifecycle/rowvalues.py", _BOTH): [
        (
            "return lambda scope, key: any(way(scope, key) for way in ways)",
            "return ways[0]",
            "an asset's value under its uri is taken for another's",
        ),
        (
            '    if settings.isolation != "state":\n',
            "    if True:\n",
            "a ref of the peer's of other state is made good",
        ),
        (
            "            if size > LARGE:\n",
            "            if False:\n",
            "large values of the peer's are read side by side",
        ),
    ],
    ("lifecycle/migrate_out.py", _OUT): [
        ('        _require_json(ref.codec == "json")\n', "", "a tuple leaves as a list"),
        ("            _require_json(is_json(text))\n", "            pass\n", "an inline tuple leaves as a list"),
        ("        _require_json(_is_exact(value))\n", "", "a plain row holds what Airflow cannot give to a task"),
        (
            "        if isinstance(value, dict) and value.get(ENVELOPE_KEY):",
            "        if isinstance(value, dict) and isinstance(value.get(ENVELOPE_KEY), str):",
            "a dict leaves as an envelope without a text",
        ),
        (
            "relative_name(without_user(ref.url), location_of(self._path)) is None:\n",
            "False:\n",
            "a ref of the peer's that it does not read is left to it",
        ),
        ("        self._require_room(len(text))\n", "", "a plain row is longer than a row may be"),
        ("json.dumps(value, allow_nan=False)", "json.dumps(value)", "what leaves is no JSON"),
        ("        if len(text) < self._threshold:\n", "        if False:\n", "the peer's threshold is passed over"),
        (
            "        _require_readable(settings, path)\n",
            "",
            "values go where workers do not read them",
        ),
    ],
    ("peervalue.py", _OUT): [
        ("~{new_blob_id()}{_suffix(compression)}", "{_suffix(compression)}", "a name of the peer's is used again"),
    ],
    ("lifecycle/rewrite.py", _IN): [
        ("        require_owner(former)\n", "        pass\n", "old blobs of another database go"),
        (
            "rows, report, grace if delete else None)",
            "rows, report, grace)",
            "old blobs go though nobody asked for it",
        ),
        (
            "self.former.store.get_range(",
            "self.collector.store.get_range(",
            "an old blob is looked for in the new place",
        ),
    ],
}
