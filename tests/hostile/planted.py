"""A module that hostile values name. Nothing may import it."""

from __future__ import annotations

import dataclasses

made: list[object] = []


@dataclasses.dataclass
class Planted:
    """Named by hostile values; never made."""

    x: int

    def __post_init__(self) -> None:
        made.append(self)
