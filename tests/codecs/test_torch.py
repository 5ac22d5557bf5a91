from __future__ import annotations

import os
import tracemalloc
from collections import OrderedDict
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offload_backend.codecs import HeldSource
from offload_backend.codecs.tree.codec import TreeCodec
from offload_backend.errors import UnreadableBlobError, UnsupportedValueError
from tests.codecs.trees import JUNK, document_of, encoded, places, replaced, round_trip, value_of, with_facts

if os.environ.get("OFFLOAD_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from offload_backend.codecs.tree import torch as kinds

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
DTYPES = sorted(kinds._DTYPES)


def same(one, other):
    """Type for type, bit for bit, with the same steps from element to element where the elements are dense."""
    assert type(one) is type(other)
    assert (one.dtype, one.shape, one.requires_grad) == (other.dtype, other.shape, other.requires_grad)
    assert bits(one) == bits(other)
    if other.numel() and kinds._is_dense(other):
        assert steps(one) == steps(other)


def steps(tensor):
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def bits(tensor):
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().as_strided((tensor.numel(),), (1,))
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def halves(tensor, axis):
    return [tensor, tensor.narrow(axis, tensor.shape[axis] // 2, tensor.shape[axis] // 2)]


@st.composite
def tensors(draw):
    dtype = getattr(torch, draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    count = torch.Size(shape).numel()
    data = bytearray(draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize)))
    if dtype is torch.bool:
        data = bytearray(byte & 1 for byte in data)
    tensor = torch.frombuffer(data, dtype=dtype).view(shape) if count else torch.empty(shape, dtype=dtype)
    tensor = tensor.permute(draw(st.permutations(range(tensor.ndim))))
    for axis in range(tensor.ndim):
        tensor = draw(
            st.sampled_from([tensor, tensor.narrow(axis, tensor.shape[axis] // 2, tensor.shape[axis] // 2)])
        )
    if dtype.is_complex and draw(st.booleans()):
        tensor = tensor.conj()
    if dtype.is_floating_point and dtype.itemsize > 1 and draw(st.booleans()):
        tensor = draw(st.sampled_from([tensor.detach().requires_grad_(), torch.nn.Parameter(tensor)]))
    return tensor


@given(tensors())
@settings(max_examples=300, deadline=None)
def test_every_tensor_comes_back_bit_for_bit(tensor):
    same(round_trip(tensor), tensor)


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(name):
    dtype = getattr(torch, name)
    tensor = torch.frombuffer(bytearray(dtype.itemsize * 6), dtype=dtype).view(2, 3)
    same(round_trip(tensor), tensor)
    same(round_trip(tensor[:, 1:]), tensor[:, 1:])
    assert round_trip(dtype) is dtype


def test_what_is_not_dense_is_the_same_in_small_pieces(monkeypatch):
    monkeypatch.setattr(kinds, "PIECE", 10)
    tensor = torch.arange(60).view(3, 4, 5)[:, ::2, 1:]
    same(round_trip(tensor), tensor)
    same(round_trip(torch.arange(22.0)[::3]), torch.arange(22.0)[::3])
    same(round_trip(torch.ones(1).expand(5, 5)), torch.ones(5, 5)[:, :].expand(5, 5))


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_a_dense_tensor_is_sent_and_read_without_a_copy(form):
    tensor = torch.rand(2, 3, 4, 5).to(memory_format=form)
    (sent,) = [piece for piece in TreeCodec().encode(tensor) if isinstance(piece, memoryview)]
    assert torch.frombuffer(sent, dtype=torch.float32).data_ptr() == tensor.data_ptr()
    same(round_trip(tensor), tensor)


def test_what_is_read_is_not_copied():
    source = HeldSource(encoded(torch.zeros(50_000_000, dtype=torch.uint8)))
    tracemalloc.start()
    TreeCodec().decode(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 55_000_000


def test_the_state_of_a_model_and_its_optimizer():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    back = round_trip({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3})
    assert type(back["model"]) is OrderedDict
    for name, tensor in model.state_dict().items():
        same(back["model"][name], tensor)
    model.load_state_dict(back["model"])
    optimizer.load_state_dict(back["optimizer"])
    assert back["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]


def test_a_state_is_tensors_that_safetensors_reads():
    load = pytest.importorskip("safetensors.torch").load
    state = {"w": torch.rand(2, 3).to(torch.bfloat16), "b": torch.rand(2).to(torch.float8_e5m2)}
    tensors = load(encoded(state))
    for name, tensor in state.items():
        same(tensors[name], tensor)


def test_the_same_object_twice_is_one_and_views_are_two():
    tensor = torch.ones(3)
    one, two, view = round_trip([tensor, tensor, tensor.view(3)])
    assert one is two
    assert view.data_ptr() != one.data_ptr()


def test_attributes_come_along():
    buffer = torch.nn.Buffer(torch.ones(2))
    assert vars(round_trip(buffer)) == vars(buffer)
    parameter = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    parameter.tags = {"a": (1,)}
    back = round_trip(parameter)
    same(back, parameter)
    assert back.tags == {"a": (1,)}


@pytest.mark.parametrize(
    "value", [torch.device("cuda:1"), torch.device("cpu"), torch.Size([1, 2]), torch.Size([])], ids=str
)
def test_small_types(value):
    back = round_trip(value)
    assert (type(back), back) == (type(value), value)


def test_a_generator_draws_on():
    generator = torch.Generator().manual_seed(5)
    torch.rand(7, generator=generator)
    back = round_trip(generator)
    assert torch.equal(torch.rand(99, generator=back), torch.rand(99, generator=generator))


class Subclass(torch.Tensor):
    pass


REFUSED = {
    "subclass": (lambda: torch.ones(2).as_subclass(Subclass), "a Subclass, a subclass of Tensor", "as_subclass"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantized", "dequantize"),
    "sparse": (lambda: torch.eye(2).to_sparse(), "sparse_coo", "to_dense"),
    "sparse rows": (lambda: torch.eye(2).to_sparse_csr(), "sparse_csr", "to_dense"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "nested", "unbind"),
    "elsewhere": (lambda: torch.ones(2, device="meta"), "on meta", "cpu"),
    "graph": (lambda: torch.ones(2, requires_grad=True) * 2, "graph", "detach"),
    "bits": (lambda: torch.ones(2).view(torch.uint8).view(torch.bits8), "bits8", "to\\("),
    "bools": (lambda: torch.tensor([2], dtype=torch.uint8).view(torch.bool), "0 and 1", "!= 0"),
    "dtype": (lambda: torch.qint8, "qint8", "str"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_is_refused(name):
    make, message, hint = REFUSED[name]
    with pytest.raises(UnsupportedValueError, match=message) as caught:
        encoded({"x": [make()]})
    assert caught.value.path == 'value["x"][0]'
    assert pytest.importorskip("re").search(hint, caught.value.hint)


HOSTILE = [
    *({"dtype": name} for name in ("load", "Tensor", "qint8", "float", "__name__", "nn", "os", None, ["float32"])),
    *({"shape": shape} for shape in ([2**62], [-6], [7], [2**40, 2**40], [6.0], "6", None)),
    *({"strides": strides} for strides in ([2], [2**62], [-1], [1, 1], "1", None)),
    *({"buffer": number} for number in (1, -1, 2**70, True, None)),
    *({"vars": parts} for parts in ([1], "x", 5)),
]


@pytest.mark.parametrize("facts", HOSTILE, ids=str)
def test_hostile_facts(facts):
    with pytest.raises(ValueError):  # noqa: PT011
        with_facts(torch.arange(6.0), **facts)


def test_memory_for_a_shape_is_not_made_from_nothing():
    document, _ = document_of(torch.ones(2))
    document["value"]["$"][2]["shape"] = [2**30]
    with pytest.raises(ValueError, match="as large as its tensor"):
        value_of(document, [b""])


def test_hostile_bools_devices_and_states():
    document, _ = document_of(torch.tensor([True]))
    with pytest.raises(ValueError, match="neither true nor false"):
        value_of(document, [b"\2"])
    for facts in ("cuda:0; import os", "cuda:99999", 5, "fpga"):
        with pytest.raises(ValueError, match=r"no device|not a tree|facts of type"):
            value_of({"value": {"$": ["torch.device", 1, facts]}}, [])
    document, buffers = document_of(torch.Generator())
    for damage in (b"\xff" * len(buffers[0]), b"", buffers[0][:-1]):
        document["value"]["$"][2]["$"][2]["shape"] = [len(damage)]
        with pytest.raises(ValueError, match="state of a generator"):
            value_of(document, [damage])


@pytest.mark.parametrize(
    "value", [torch.rand(3, 4).T, torch.nn.Parameter(torch.ones(2)), torch.Size([1])], ids=type
)
def test_any_fact_may_be_anything(value):
    document, buffers = document_of(value)
    for way in list(places(document["value"]))[1:]:
        for junk in JUNK:
            with suppress(ValueError, UnreadableBlobError):
                value_of({**document, "value": replaced(document["value"], way, junk)}, buffers)
