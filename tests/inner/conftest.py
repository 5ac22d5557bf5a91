from __future__ import annotations

import pytest

from tests.inner.stores import Stores


@pytest.fixture
def stores() -> Stores:
    return Stores()
