from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.places import Place
from tests.faults.scenery import places as opened_places


@pytest.fixture(scope="package")
def places(s3_server, s3_client, tmp_path_factory) -> Iterator[dict[str, Place]]:
    s3_client.create_bucket(Bucket="faults")
    with opened_places(s3_server, tmp_path_factory.mktemp("faults")) as found:
        yield found
