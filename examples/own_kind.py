"""A kind for a type of your own, so that it comes back exactly, at the speed of its memory.

    python examples/own_kind.py DIRECTORY

A package that many tasks use names its kinds in an entry point instead, called what the package is called:

    [project.entry-points."offload_backend.kinds"]
    sensors = "sensors.offload:KINDS"
"""

from __future__ import annotations

import sys
from array import array
from pathlib import Path

from offload_backend import connect
from offload_backend.codecs.tree.kinds import Json, Reader, Writer, register


class Signal:
    """Samples of a sensor: a unit, and a million numbers."""

    def __init__(self, unit: str, samples: array[float]) -> None:
        self.unit = unit
        self.samples = samples

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signal) and (self.unit, self.samples) == (other.unit, other.samples)

    __hash__ = None


class SignalKind:
    tag = "sensors.signal"  # in blobs for ever
    version = 1  # of the facts; decode reads all older ones too
    module = ""  # a library's kind says "sensors": it is asked only once that is imported
    needs = ""  # what to pip install where values are read

    def accepts(self, value: object) -> bool:
        return type(value) is Signal  # not a subclass, which may hold more

    def encode(self, value: Signal, writer: Writer) -> Json:
        data = memoryview(value.samples).cast("B")
        number = writer.buffer(data, dtype="F64", shape=(len(value.samples),))  # not copied
        return {"unit": value.unit, "samples": number}

    def decode(self, facts: Json, version: int, reader: Reader) -> Signal:  # noqa: ARG002  # there is one
        match facts:
            case {"unit": str(unit), "samples": int(number)}:
                samples = array("d")
                samples.frombytes(reader.buffer(number))
                return Signal(unit, samples)
        raise ValueError("not a signal")  # facts may come from anywhere; every error must be this one


KIND = register(SignalKind())


def main(directory: Path) -> None:
    with (
        connect(directory / "blobs", "memory://") as stores,
        stores.task_store("factory", "manual__2031-01-01", "measure") as task_store,
    ):
        task_store.set("signal", Signal("mV", array("d", range(100_000))))
        signal = task_store.get("signal")
        print(f"{len(signal.samples)} samples in {signal.unit}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
