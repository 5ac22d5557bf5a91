"""NumPy's random numbers: a checkpoint that resumes draws on where it stopped.

A generator is its bit generator; a bit generator is what its ``state`` says, and the seed sequence from
which it was made, since ``spawn`` goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from offload_backend.codecs.tree.kinds import Json, Reader, Writer

__all__ = ["RANDOM_KINDS"]

_ALGORITHMS: dict[str, Callable[..., Any]] = {
    "MT19937": np.random.MT19937,
    "PCG64": np.random.PCG64,
    "PCG64DXSM": np.random.PCG64DXSM,
    "Philox": np.random.Philox,
    "SFC64": np.random.SFC64,
}
_SEED = ("entropy", "spawn_key", "pool_size", "n_children_spawned")
_LARGEST_POOL = 128
"""Words; NumPy has 4 unless told otherwise, and mixing takes time with their square."""
_LAST_PLACE = {"pos": 624, "buffer_pos": 4}
"""Where a state is in its own arrays; NumPy would read beyond them."""


class _RandomKind:
    version = 1
    module = "numpy"
    needs = "numpy"
    type: type

    def accepts(self, value: object) -> bool:
        return type(value) is self.type


class SeedSequenceKind(_RandomKind):
    """``numpy.random.SeedSequence``."""

    tag = "numpy.random.seedsequence"
    type = np.random.SeedSequence

    def encode(self, value: Any, writer: Writer) -> Json:
        """The four members of its ``state``."""
        if value.pool_size > _LARGEST_POOL:
            writer.refuse(f"a pool of more than {_LARGEST_POOL} words", "store value.state")
        return {name: writer.node(value.state[name], f".{name}") for name in _SEED}

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        if not isinstance(facts, dict) or facts.keys() != set(_SEED):
            raise ValueError("no seed sequence")
        state = {name: reader.value(facts[name]) for name in _SEED}
        if type(state["pool_size"]) is not int or state["pool_size"] > _LARGEST_POOL:
            raise ValueError("no seed sequence")
        try:
            return np.random.SeedSequence(**state)
        except (TypeError, OverflowError) as error:
            raise ValueError("no seed sequence") from error


class BitGeneratorKind(_RandomKind):
    """The five bit generators that NumPy has."""

    tag = "numpy.random.bitgenerator"

    def accepts(self, value: object) -> bool:
        """Those of other libraries, to refuse them."""
        return isinstance(value, np.random.BitGenerator)

    def encode(self, value: Any, writer: Writer) -> Json:
        name = type(value).__name__
        seed = value.seed_seq
        if _ALGORITHMS.get(name) is not type(value) or not (seed is not None or name == "Philox"):
            writer.refuse(f"{name} is no bit generator that can be made anew", "store value.state")
        return {"state": writer.node(value.state, ".state"), "seed": writer.node(seed, ".seed_seq")}

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        if not isinstance(facts, dict) or facts.keys() != {"state", "seed"}:
            raise ValueError("no bit generator")
        state, seed = reader.value(facts["state"]), reader.value(facts["seed"])
        algorithm = _algorithm(state)
        if type(seed) is np.random.SeedSequence:
            made = algorithm(seed)
        elif seed is None and algorithm is np.random.Philox:
            made = algorithm(key=0)
        else:
            raise ValueError("no bit generator")
        made.state = _alike(state, made.state)
        return made


class GeneratorKind(_RandomKind):
    """``numpy.random.Generator``."""

    tag = "numpy.random.generator"
    type = np.random.Generator

    def encode(self, value: Any, writer: Writer) -> Json:
        """The node of its bit generator."""
        return writer.node(value.bit_generator, ".bit_generator")

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        made = reader.value(facts)
        if isinstance(made, np.random.BitGenerator):
            return np.random.Generator(made)
        raise ValueError("no bit generator")


class RandomStateKind(_RandomKind):
    """``numpy.random.RandomState``, as ``get_state(legacy=False)`` tells it."""

    tag = "numpy.random.randomstate"
    type = np.random.RandomState

    def encode(self, value: Any, writer: Writer) -> Json:
        state = value.get_state(legacy=False)
        if state["bit_generator"] not in _ALGORITHMS:
            writer.refuse("its bit generator cannot be made anew", "store value.get_state(legacy=False)")
        return writer.node(state, ".get_state(legacy=False)")

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        state = reader.value(facts)
        made = np.random.RandomState(_algorithm(state)(0))
        made.set_state(_alike(state, made.get_state(legacy=False)))
        return made


def _algorithm(state: Any) -> Callable[..., Any]:
    name = state.get("bit_generator") if isinstance(state, dict) else None
    if isinstance(name, str) and name in _ALGORITHMS:
        return _ALGORITHMS[name]
    raise ValueError("no bit generator")


def _alike(state: Any, model: Any) -> Any:
    """The state, if it has the model's form throughout; NumPy trusts it too far."""
    if type(state) is not type(model):
        raise ValueError("no state of a bit generator")
    if isinstance(model, np.ndarray) and (state.dtype, state.shape) != (model.dtype, model.shape):
        raise ValueError("no state of a bit generator")
    if type(model) is int and not 0 <= state < 2**128:
        raise ValueError("no state of a bit generator")
    if isinstance(model, dict):
        if state.keys() != model.keys():
            raise ValueError("no state of a bit generator")
        state = {name: _alike(state[name], model[name]) for name in model}
        if any(state.get(name, 0) > last for name, last in _LAST_PLACE.items()):
            raise ValueError("no state of a bit generator")
    return state


RANDOM_KINDS = (GeneratorKind(), BitGeneratorKind(), SeedSequenceKind(), RandomStateKind())
