"""Mutants of what makes a reading of roots complete, or an error."""

from __future__ import annotations

__all__ = ["ADAPTERS"]

_TESTS_1 = ("tests/contracts/test_sql_roots.py", "-k", "sqlite")
_TESTS_2 = ("tests/contracts/test_sql_roots.py", "tests/contracts/test_airflow_roots.py")
_TESTS_3 = ("tests/contracts/test_airflow_roots.py", "-k", "sqlite")
_TESTS_4 = ("tests/contracts/test_sql_roots.py", "-k", "row_level or policy")
_TESTS_5 = ("tests/contracts/test_roots_export.py", "tests/lifecycle/test_purge.py")
_TESTS_6 = ("tests/airflow/test_rest_faults.py", "tests/airflow/test_rest_roots.py")

ADAPTERS = {
    ("corestores/rootdatabase.py", _TESTS_1): [
        ("            yield from self._canary(connection, found)\n", "", "the canary is not among the roots"),
        (
            "                yield from self._roots_in(connection, table)\n",
            "                yield from list(self._roots_in(connection, table))[:1]\n",
            "one root of each table",
        ),
        ('func.typeof(value) != "text"', "value.is_(None)", "values that are bytes are passed over"),
        ("func.instr(value, func.char(0)) > 0", "value.is_(None)", "what is behind a NUL is passed over"),
        (
            "if self._file is not None and not self._file.is_file():",
            "if False:",
            "a database that is not there is made",
        ),
        (
            'DASHES = "%________-____-____-____-____________%"',
            'DASHES = "%://%________-____-____-____-____________%"',
            "only refs are looked at",
        ),
    ],
    ("corestores/rootdatabase.py", _TESTS_2): [
        (
            "            if [table.name for table in found] != expected:\n",
            "            if False:\n",
            "tables that appear meanwhile are passed over",
        ),
        ("        if seen != expected:\n", "        if False:\n", "rows may be missing"),
    ],
    ("corestores/airflow_roots.py", _TESTS_3): [
        (
            "tasks = [pair for pair in found if TASKS in pair[1]]",
            "tasks = [pair for pair in found if TASKS == pair[1]]",
            "archives of tasks' rows are no roots",
        ),
        (
            "assets = [pair for pair in found if ASSETS in pair[1]]",
            "assets = [pair for pair in found if ASSETS == pair[1]]",
            "archives of assets' rows are no roots",
        ),
        (
            "    joined = rows.outerjoin(asset,",
            "    joined = rows.join(asset,",
            "rows of assets that are gone are no roots",
        ),
        ("        if missing:\n", "        if False:\n", "a database without the tables is taken"),
        ("        if unknown:\n", "        if False:\n", "a table without values is taken"),
    ],
    ("corestores/ledger.py", _TESTS_1): [
        ("        elif before <= ledger.sequence:\n", "        elif True:\n", "the ledger goes back"),
        (
            "columns.deployment == self._deployment)).one_or_none()",
            "True)).first()",
            "another deployment's ledger is read",
        ),
    ],
    ("corestores/visibility.py", _TESTS_4): [
        (
            '        _command(connection, "SET LOCAL row_security = off")\n',
            "        pass\n",
            "row-level security shortens the reading",
        ),
        (
            '            if connection.scalar(_ACTIVE, {"name": _quoted(connection, table)}):\n',
            "            if False:\n",
            "row-level security is not noticed",
        ),
    ],
    ("corestores/roots_export.py", _TESTS_5): [
        ("        if isinstance(root, Hidden):\n", "        if False:\n", "hidden rows are passed over"),
        ("    if not has_canary:\n", "    if False:\n", "an export without the canary is written"),
        ("    if origin.kind not in COMPLETE:\n", "    if False:\n", "a source that must be asked is exported"),
        (
            "if not before.sequence <= ledger.sequence <= last:",
            "if not before.sequence <= ledger.sequence:",
            "an export is good for any number of runs",
        ),
        (
            "if before is None or ledger.canary != before.canary:",
            "if before is None:",
            "an export takes a new canary",
        ),
        (
            "if self._verified is not None and self._verified[1] != digest:",
            "if False:",
            "an export may be replaced in use",
        ),
        ('if found.get("deployment") != self._deployment:', "if False:", "another deployment's export is taken"),
        (
            'read_at = min(datetime.fromisoformat(found[name]) for name in ("started_at", "read_at"))',
            'read_at = max(datetime.fromisoformat(found[name]) for name in ("started_at", "read_at"))',
            "an export is as young as the later clock says",
        ),
        ("    source.record(Ledger(first.sequence + RUNS, chosen))\n", "", "an export takes no numbers"),
        ("        if not root.ids or not all(", "        if not all(", "a root without ids is taken"),
    ],
    ("corestores/exportfile.py", _TESTS_5): [
        (
            "    if count < 0 or _object(waiting, file) != {",
            "    if count < 0 and _object(waiting, file) != {",
            "a short export is taken",
        ),
        (
            '                if not line.endswith(b"\\n"):\n',
            "                if False:\n",
            "an export may end within a line",
        ),
    ],
    ("corestores/airflow_rest.py", _TESTS_6): [
        (
            "return _Seen([*found, Hidden(address, str(error))])",
            "return _Seen(found)",
            "what was not seen is not told",
        ),
        (
            "return _Seen([*found, Hidden(address, error.message)], trouble=True)",
            "return _Seen(found, trouble=True)",
            "an address that failed is passed over",
        ),
        (
            "        if address.region_id and not self._has_regions:\n",
            "        if False:\n",
            "an old Airflow is asked for a region",
        ),
        (
            '        if standing == "gone" and rows:\n',
            "        if False:\n",
            "rows of a run that is gone prove something",
        ),
        ("        if self._version() != version:\n", "        if False:\n", "an upgrade meanwhile is not noticed"),
        ("        if canary is not None:\n            yield canary\n", "", "the canary is not among the roots"),
        ("        if troubles == TROUBLES:\n", "        if False:\n", "a dead server is asked on and on"),
        (
            "        if answer.denies(dag_id, run_id):\n            return False\n",
            "        if answer.status == 404:\n            return False\n",
            "any 404 is a proof",
        ),
        ("        if version < FIRST_VERSION:\n", "        if False:\n", "an Airflow without state is taken"),
    ],
    ("corestores/rest_pages.py", _TESTS_6): [
        (
            "        if offset and (not kept or kept[0][0] != joint):\n            return None\n",
            "",
            "rows that move between pages are missed",
        ),
        ("    if answer.status != HTTPStatus.OK:\n", "    if answer.status >= 500:\n", "an error is an empty list"),
        ("        if offset + len(kept) >= total:\n", "        if True:\n", "only the first page is read"),
        (
            'if text in ("", ".", "..", "~") or "/" in text:',
            'if text in ("", ".", "..") or "/" in text:',
            "`~` is asked for, which means all",
        ),
    ],
    ("corestores/rest_client.py", ("tests/lifecycle/test_kept.py", *_TESTS_6)): [
        (
            "return self.status == HTTPStatus.NOT_FOUND and _QUOTED.findall(self.detail) == list(ids)",
            "return self.status == HTTPStatus.NOT_FOUND",
            "a proxy's 404 is a proof",
        ),
        (
            "return self.body if self.status == HTTPStatus.OK and isinstance(self.body, dict) else {}",
            "return self.body if isinstance(self.body, dict) else {}",
            "an error is an answer",
        ),
    ],
    ("corestores/rest_assets.py", _TESTS_6): [
        (
            (
                "        if address not in known:\n"
                '            raise UnseenError("no asset of this name or uri is visible")\n'
                "        return known[address]\n"
            ),
            "        return known.get(address, [])\n",
            "an asset that is not visible has no rows",
        ),
        ('"only_active": "false"', '"only_active": "true"', "inactive assets have no rows"),
    ],
    ("corestores/rest_ledger.py", _TESTS_6): [
        ("if before is not None and before.sequence > ledger.sequence:", "if False:", "the ledger goes back"),
        ("        if self.read() != ledger:\n", "        if False:\n", "what was written is not read again"),
        (
            "        if answer.denies(self.key):\n            return None\n",
            "        if answer.status == 404:\n            return None\n",
            "any 404 means that there is no ledger",
        ),
    ],
}
