"""The codec for values that JSON does not hold: a safetensors file outside, tagged JSON inside."""

from __future__ import annotations

from offload_backend.codecs.tree.codec import TreeCodec

__all__ = ["TreeCodec"]
