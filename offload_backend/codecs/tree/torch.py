"""PyTorch's tensors on the CPU, and the small types that stand beside them in a checkpoint.

A tensor whose elements fill a stretch of memory, in whatever order of dimensions, goes to the wire from its
own memory, and comes back with the same strides. Any other is copied as it goes, some rows at a time. Tensors that
share memory come back apart, except where they are the same object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch

from offload_backend.codecs.tree.classes import state_nodes
from offload_backend.codecs.tree.kinds import Json, Kind, Pieces, Reader, Writer

__all__ = ["KINDS"]

PIECE = 4 * 1024 * 1024
"""Bytes copied at a time of a tensor that is not dense, and at least a row."""

_WORDS = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "bfloat16": "BF16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex32": None,
    "complex64": "C64",
    "complex128": None,
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn_x2": None,
}
"""The dtypes of tensors, and what safetensors calls them."""

_DTYPES = {name: getattr(torch, name) for name in _WORDS if hasattr(torch, name)}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_DEVICE = re.compile(r"(?:cpu|cuda|mps|xpu|meta|hpu|mtia)(?::[0-9]{1,4})?")


class _TorchKind:
    version = 1
    module = "torch"
    needs = "torch numpy"
    type: type

    def accepts(self, value: object) -> bool:
        return type(value) is self.type


class TensorKind(_TorchKind):
    """``torch.Tensor`` and ``torch.nn.Parameter``: dense, on the CPU, and no part of a graph."""

    tag = "torch.tensor"

    def accepts(self, value: object) -> bool:
        """All other tensors, to refuse them with a hint."""
        return isinstance(value, torch.Tensor)

    def encode(self, value: Any, writer: Writer) -> Json:
        """``dtype``, ``shape``, ``buffer``, and where they are not the usual ``strides``, ``parameter``, ``grad``
        for ``requires_grad``, and ``vars``, the attributes that were set on it. Gradients are no part of it.
        """
        for message, hint in _problems(value):
            writer.refuse(message, hint)
        tensor = value.detach().resolve_conj().resolve_neg()
        facts: dict[str, Json] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape)}
        if tensor.dtype is torch.bool and not _are_bools(tensor.view(torch.uint8)):
            writer.refuse("a bool tensor with bytes other than 0 and 1", "store value.view(torch.uint8) != 0")
        facts["buffer"] = _put(tensor, writer)
        if _is_dense(tensor) and not tensor.is_contiguous():
            facts["strides"] = list(tensor.stride())
        if type(value) is torch.nn.Parameter:
            facts["parameter"] = True
        if value.requires_grad:
            facts["grad"] = True
        if vars(value):
            facts["vars"] = state_nodes(vars(value), writer)
        return facts

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        if not isinstance(facts, dict) or not {"dtype", "shape", "buffer"} <= facts.keys():
            raise ValueError("no tensor")
        shape = _numbers(facts["shape"])
        try:
            tensor = _around(reader.buffer(facts["buffer"]), _dtype(facts["dtype"]), shape)
            if "strides" in facts:
                tensor = tensor.as_strided(shape, _numbers(facts["strides"]))
            grad = facts.get("grad") is True
            if facts.get("parameter") is True:
                tensor = torch.nn.Parameter(tensor, requires_grad=grad)
            elif grad:
                tensor.requires_grad_()
        except (RuntimeError, TypeError) as error:
            raise ValueError("no tensor") from error
        vars(tensor).update({name: reader.value(node) for name, node in dict(facts.get("vars", {})).items()})
        return tensor


def _problems(tensor: Any) -> Iterator[tuple[str, str]]:
    """Why the tensor cannot come back as it is, and what to store in its place; the first reason counts."""
    name = type(tensor).__name__
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        yield f"a {name}, a subclass of Tensor, would come back as Tensor", "store value.as_subclass(torch.Tensor)"
    if tensor.is_quantized:
        yield "a quantized tensor", "store value.int_repr() with its scale and zero point, or value.dequantize()"
    if tensor.is_nested:
        yield "a nested tensor", "store value.unbind()"
    if tensor.layout is not torch.strided:
        yield f"a tensor with layout {tensor.layout}", "store value.to_dense(), or its indices and values"
    if tensor.device.type != "cpu":
        yield f"a tensor on {tensor.device.type}", "store value.cpu()"
    if not tensor.is_leaf:
        yield "a tensor that is part of a graph", "store value.detach()"
    if tensor.dtype not in _NAMES:
        yield f"a tensor of {tensor.dtype}", "convert it, value.to(torch.float32)"
    if any(getattr(tensor, "names", ())):
        yield "a tensor with named dimensions", "store value.rename(None)"


def _is_dense(tensor: Any) -> bool:
    """Whether the elements fill a stretch of memory, each place once."""
    step = 1
    for size, stride in sorted(zip(tensor.shape, tensor.stride(), strict=True), key=lambda both: both[1]):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def _put(tensor: Any, writer: Writer) -> int:
    if not tensor.numel():
        return writer.buffer(b"", dtype=_WORDS[_NAMES[tensor.dtype]] or "U8", shape=tuple(tensor.shape))
    if not _is_dense(tensor):
        return writer.buffer(Pieces(tensor.numel() * tensor.itemsize, lambda: _copied(tensor)))
    memory = _memory(tensor)
    word = _WORDS[_NAMES[tensor.dtype]]
    if word is None:
        return writer.buffer(memory)
    order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
    return writer.buffer(memory, dtype=word, shape=tuple(tensor.shape[axis] for axis in order))


def _memory(dense: Any) -> memoryview:
    flat = dense.as_strided((dense.numel(),), (1,))
    memory: memoryview = flat.view(torch.uint8).numpy().data
    return memory


def _copied(tensor: Any) -> Iterator[memoryview]:
    count = max(1, PIECE // (tensor[0].numel() * tensor.itemsize))
    for start in range(0, len(tensor), count):
        yield _memory(tensor[start : start + count].contiguous())


def _around(memory: memoryview, dtype: Any, shape: tuple[int, ...]) -> Any:
    if len(memory) != prod(shape) * dtype.itemsize:
        raise ValueError("the buffer is not as large as its tensor")
    if not memory:
        return torch.empty(shape, dtype=dtype)
    if dtype is torch.bool and not _are_bools(torch.frombuffer(memory, dtype=torch.uint8)):
        raise ValueError("neither true nor false")
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def _are_bools(data: Any) -> bool:
    return not data.numel() or int(data.max()) <= 1


def _dtype(name: Json) -> Any:
    """The dtype of this name, if it is one that tensors are stored with: ``torch`` has many more attributes."""
    if isinstance(name, str) and name in _DTYPES:
        return _DTYPES[name]
    raise ValueError("no dtype of tensors")


def _numbers(facts: Json) -> tuple[int, ...]:
    if isinstance(facts, list) and all(type(number) is int and 0 <= number < 2**63 for number in facts):
        return tuple(facts)
    raise ValueError("a list of integers was expected")


class DtypeKind(_TorchKind):
    """``torch.dtype``, by its name."""

    tag = "torch.dtype"
    type = torch.dtype

    def encode(self, value: Any, writer: Writer) -> Json:
        if value not in _NAMES:
            writer.refuse(f"{value} is no dtype of tensors that can be stored", "store str(value)")
        return _NAMES[value]

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        return _dtype(facts)


class DeviceKind(_TorchKind):
    """``torch.device``, by its text: ``cuda:0``."""

    tag = "torch.device"
    type = torch.device

    def encode(self, value: Any, writer: Writer) -> Json:
        if not _DEVICE.fullmatch(str(value)):
            writer.refuse(f"the device {value} may not be known elsewhere", "store str(value)")
        return str(value)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        if isinstance(facts, str) and _DEVICE.fullmatch(facts):
            return torch.device(facts)
        raise ValueError("no device")


class SizeKind(_TorchKind):
    """``torch.Size``."""

    tag = "torch.size"
    type = torch.Size

    def encode(self, value: Any, writer: Writer) -> Json:
        return list(value)

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        return torch.Size(_numbers(facts))


class GeneratorKind(_TorchKind):
    """``torch.Generator`` of the CPU, which draws on where it stopped."""

    tag = "torch.generator"
    type = torch.Generator

    def encode(self, value: Any, writer: Writer) -> Json:
        if value.device.type != "cpu":
            writer.refuse(f"a generator of {value.device.type}", "store value.get_state()")
        return writer.node(value.get_state(), ".get_state()")

    def decode(self, facts: Json, version: int, reader: Reader) -> Any:
        generator = torch.Generator()
        try:
            return generator.set_state(reader.value(facts))
        except (RuntimeError, TypeError) as error:
            raise ValueError("no state of a generator") from error


KINDS: Sequence[Kind] = (TensorKind(), DtypeKind(), DeviceKind(), SizeKind(), GeneratorKind())
