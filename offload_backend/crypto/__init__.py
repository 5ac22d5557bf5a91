"""Where the keys are that blobs are encrypted with and refs are signed with."""

from __future__ import annotations

from offload_backend.crypto.keyring import Keyring
from offload_backend.crypto.source import KeySource, Secret

__all__ = ["KeySource", "Keyring", "Secret"]
