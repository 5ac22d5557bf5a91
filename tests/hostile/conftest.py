"""Stores that record what they are asked for."""

from __future__ import annotations

import pytest

from tests.inner.stores import Stores


@pytest.fixture
def stores():
    return Stores()
