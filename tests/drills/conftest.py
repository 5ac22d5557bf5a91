"""One bucket and one source of processes for all drills; a database for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.drills.victims import Victims, victims
from tests.drills.world import BUCKET, World, settings_at
from tests.postgres_server import postgres_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["postgres_url"]


@pytest.fixture(scope="session")
def drilled(s3_server, s3_client, tmp_path_factory) -> Iterator[Victims]:
    s3_client.create_bucket(Bucket=BUCKET)
    with victims(tmp_path_factory.mktemp("drills"), settings_at(s3_server)) as found:
        yield found


@pytest.fixture
def world(drilled: Victims, s3_server: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    found = World(drilled, settings_at(s3_server), request.getfixturevalue("postgres_url"), tmp_path)
    yield found
    found.close()
