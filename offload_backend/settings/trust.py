"""Whom to believe: keys for blobs and refs, and whose refs resolve for whom."""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["TrustSettings"]


class TrustSettings(BaseModel):
    """Settings that have to do with keys, signatures and isolation."""
