"""Mutants of what makes Airflow's tables in MySQL the same as elsewhere."""

from __future__ import annotations

__all__ = ["MYSQL"]

_FILE = "tests/contracts/test_mysql.py"
_TESTS_1 = (_FILE, "-k", "utc or hung_up or limit or gone or written")
_TESTS_2 = (_FILE, "-k", "trouble or cannot_hold")
_TESTS_3 = (_FILE, "-k", "takes_for_equal")
_TESTS_4 = (_FILE, "-k", "ledger_tells or whole_database")
_TESTS_5 = (_FILE, "-k", "page_in_the_ui")

MYSQL = {
    ("corestores/mysql_sessions.py", _TESTS_1): [
        ('    "time_zone": "\'+00:00\'",\n', "", "times are those of the server's zone"),
        (
            '    "net_write_timeout": f"CAST(GREATEST(@@net_write_timeout, {PAUSE_SECONDS}) AS SIGNED)",\n',
            "",
            "the server hangs up on who reads slowly",
        ),
        (
            '    "lock_wait_timeout": f"CAST(LEAST(@@lock_wait_timeout, {LOCK_SECONDS}) AS SIGNED)",\n',
            "",
            "a statement waits a year for a table",
        ),
        (
            'if connection.get_execution_options().get("mysql_readonly"):',
            "if False:",
            "what only reads can write",
        ),
    ],
    ("corestores/trouble.py", _TESTS_2): [
        ('"denied", ', "", "a wrong password is to be tried again"),
        (
            "return bool(arguments) and arguments[0] in _NO_SUCH_TEXT",
            "return False",
            "asking for what a column cannot hold is an error",
        ),
    ],
    ("corestores/airflow_rows.py", _TESTS_3): [
        (" if asset.known_by == asked_for]", "]", "a blank behind an asset's name erases that asset"),
    ],
    ("corestores/airflow_db.py", _TESTS_3): [
        ('if row["key"] == key and _is_of(row, address)', "if True", "another key's row is had"),
    ],
    ("corestores/schema.py", _TESTS_4): [
        ("mysql.DATETIME(fsp=6)", "mysql.DATETIME()", "the ledger's time is rounded"),
    ],
    ("corestores/visibility.py", _TESTS_4): [
        (
            '    elif dialect != "sqlite" and not _sees_whole_database(connection):\n',
            "    elif False:\n",
            "tables that MySQL does not show are taken for none",
        ),
    ],
    ("airflow/ui/sizes.py", _TESTS_5): [
        (
            'in_mysql = "CAST({} AS BINARY)"',
            'in_mysql = "{}"',
            "MySQL takes other texts for refs",
        ),
    ],
}
