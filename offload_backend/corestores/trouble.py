"""What an error of a database means for who asked it."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from offload_backend.errors import CoreStoreError

__all__ = ["EXAMPLES", "holds_no_such_text", "trouble"]

EXAMPLES = "use sqlite:////var/lib/offload/state.db, or postgresql://user:password@host/database"
_LASTING = (
    *("authentication", "does not exist", "pg_hba", "unable to open", "readonly", "no such"),
    *("denied", "Unknown database", "read-only"),  # MySQL's
)
_NO_SUCH_TEXT = (1267, 3854)
"""MariaDB's and MySQL's numbers of the error: illegal mix of collations, and cannot convert string."""


def trouble(error: SQLAlchemyError, location: str) -> CoreStoreError:
    """The error to raise instead: the first line of the driver's, whether it may pass, and what to do."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    passing = isinstance(error, (OperationalError, PoolTimeoutError))
    lasting = any(sign in str(cause) for sign in _LASTING) or _is_no_such_text(error)
    retryable = passing and not lasting
    hint = (
        "try again; if it lasts, see that the database runs and can be reached from here"
        if retryable
        else "check the database's URL, in --core-store, [offload_backend] core_store or, of Airflow's own, "
        f"[database] sql_alchemy_conn; {EXAMPLES}"
    )
    return CoreStoreError(f"the core store failed: {lines[0]}", retryable=retryable, hint=hint, location=location)


def holds_no_such_text(error: CoreStoreError) -> bool:
    """Whether a column of MySQL's cannot hold the text that it was compared with, so that no row can have it.

    Airflow's ids are there of three bytes a character, and assets' names and uris of Latin-1.
    """
    return isinstance(error.__cause__, SQLAlchemyError) and _is_no_such_text(error.__cause__)


def _is_no_such_text(error: SQLAlchemyError) -> bool:
    arguments = error.orig.args if isinstance(error, DBAPIError) and error.orig is not None else ()
    return bool(arguments) and arguments[0] in _NO_SUCH_TEXT
