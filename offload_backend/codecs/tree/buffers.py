"""The buffers of a tree while it is written: their numbers, and the names by which other programs find them."""

from __future__ import annotations

from offload_backend.codecs.tree.kinds import Buffer, Json, Pieces
from offload_backend.codecs.tree.layout import Tensor

__all__ = ["Buffers"]

MOST_TENSORS = 10_000
"""Buffers beyond these share one tensor, so that a header stays small."""

_RESERVED = ("tree", "packed", "__metadata__")


class Buffers:
    """Buffers in the order in which they were added."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._frozen: list[int] = []
        self._used: dict[str, int] = dict.fromkeys(_RESERVED, 1)

    def add(
        self, name: str, data: Buffer | Pieces, dtype: str, shape: tuple[int, ...], *, frozen: bool = False
    ) -> int:
        """The number of the buffer. It gets this name, or one like it that no other has."""
        number = len(self._tensors)
        self._tensors.append(Tensor(self._unique(name), dtype, shape, data))
        if frozen:
            self._frozen.append(number)
        return number

    def finished(self) -> tuple[dict[str, Json], list[Tensor]]:
        """What the document says of the buffers, and the tensors that they are in."""
        facts: dict[str, Json] = {"frozen": self._frozen} if self._frozen else {}
        tensors, rest = self._tensors[:MOST_TENSORS], self._tensors[MOST_TENSORS:]
        if rest:
            facts["packed"] = sizes = [tensor.size for tensor in rest]
            packed = Pieces(sum(sizes), lambda: (piece for tensor in rest for piece in tensor.pieces()))
            tensors.append(Tensor("packed", "U8", (packed.size,), packed))
        return facts, tensors

    def _unique(self, name: str) -> str:
        unique = name
        while unique in self._used:
            self._used[name] += 1
            unique = f"{name}~{self._used[name]}"
        self._used[unique] = 1
        return unique
