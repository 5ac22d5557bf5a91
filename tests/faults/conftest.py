from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.places import Place
from tests.faults.scenery import make_bucket
from tests.faults.scenery import places as opened_places


@pytest.fixture(scope="package")
def places(s3_server, tmp_path_factory) -> Iterator[dict[str, Place]]:
    make_bucket()
    with opened_places(s3_server, tmp_path_factory.mktemp("faults")) as found:
        yield found
