"""What the kinds of arrays and tables wrote once can be read for ever.

Each line of ``golden_arrays.jsonl`` is the text of an inline value and the expression of its value. A line is never
changed; new ones are added by ``python -m tests.codecs.test_golden_arrays``.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from offload_backend.codecs.tree.codec import INLINE, TreeCodec

FILE = Path(__file__).with_name("golden_arrays.jsonl")
LIBRARIES = {
    "np": "numpy",
    "pd": "pandas",
    "pl": "polars",
    "pa": "pyarrow",
    "sparse": "scipy.sparse",
    "torch": "torch",
}

EXPRESSIONS = [
    "np.arange(6, dtype='<f4').reshape(2, 3)",
    "np.asfortranarray(np.arange(6, dtype='>i2').reshape(2, 3))",
    "np.arange(24, dtype='|u1').reshape(2, 3, 4).transpose(1, 0, 2)",
    "np.array(['a', 'bc'], '<U2')",
    "np.array(['2020-01-01', 'NaT'], '<M8[25us]')",
    "np.zeros(2, np.dtype([('a', '<i4'), ('b', '<f8', (2,))], align=True))",
    "np.zeros(2, {'names': ['a'], 'formats': ['<i4'], 'offsets': [4], 'titles': ['A'], 'itemsize': 12})",
    "np.rec.array([(1, 'x')], dtype=[('a', '<i4'), ('b', '<U1')])",
    "np.array([1, None, 'x', (2,)], object)",
    "np.array(['x', None, float('nan')] * 30, object)",
    "np.float32(0.1)",
    "np.complex64(1 + 2j)",
    "np.str_('text')",
    "np.bytes_(b'bytes')",
    "np.dtype('<f8')",
    "np.ma.MaskedArray([1, 2], [True, False], fill_value=3)",
    "np.random.Generator(np.random.PCG64(np.random.SeedSequence(1)))",
    "np.random.RandomState(1)",
    "pd.DataFrame({'a': [1, 2], 'b': [0.5, 1.5]}, pd.Index([3, 4], name='i'), pd.Index(['a', 'b'], dtype=object))",
    "pd.DataFrame(np.ones((2, 3)), columns=pd.RangeIndex(3), copy=False)",
    "pd.Series([1.0, 2.0], index=pd.MultiIndex.from_product([[1, 2], [3]]), name=('x', 1))",
    "pd.array(['a', None], pd.StringDtype('python'))",
    "pd.array(['a', None] * 40, pd.StringDtype('pyarrow'))",
    "pd.array([1, None], 'Int8')",
    "pd.array([1, None], 'int64[pyarrow]')",
    "pd.Categorical([2, 1], [1, 2], ordered=True)",
    "pd.date_range('2020-01-01', periods=3, freq='D', tz='UTC', unit='s')",
    "pd.array(np.array([5], 'm8[ms]'))",
    "pd.period_range('2020-01', periods=2, freq='M').array",
    "pd.arrays.IntervalArray.from_breaks([0, 1, 2])",
    "pd.arrays.SparseArray([0, 1, 0, 2])",
    "pd.Timestamp('2020-10-25', tz='UTC').as_unit('s')",
    "pd.Timedelta(np.timedelta64(5, 's'))",
    "pd.Period('2020-01', 'M')",
    "pd.Interval(1, 2)",
    "[pd.NaT, pd.NA]",
    "pd.offsets.MonthEnd(3)",
    "pd.Int8Dtype()",
    "pl.DataFrame({'a': [1, None], 'b': ['x', 'y']})",
    "pl.Series('e', ['b', 'a'], dtype=pl.Enum(['a', 'b']))",
    "pa.table({'a': [1, None], 'b': ['x', 'y']})",
    "pa.record_batch({'a': [1, None]})",
    "pa.array(['x', None])",
    "pa.chunked_array([[1], [2, 3]])",
    "pa.scalar(1.5)",
    "pa.schema([pa.field('a', pa.int8(), metadata={'b': 'c'})])",
    "pa.field('a', pa.int8())",
    "pa.list_(pa.int8())",
    *(f"sparse.{form}_array(np.eye(2))" for form in ("csr", "csc", "bsr", "coo", "dia", "lil", "dok")),
    "torch.arange(6.0).view(2, 3).T",
    "torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))",
    "[torch.float16, torch.device('cuda:0'), torch.Size([1, 2])]",
    "torch.Generator().manual_seed(1)",
]


def value_of(expression):
    names = {name: module for name, module in LIBRARIES.items() if f"{name}." in expression}
    return eval(expression, {name: importlib.import_module(module) for name, module in names.items()})


def lines():
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()] if FILE.exists() else []


@pytest.mark.parametrize("line", lines(), ids=lambda line: line["value"])
def test_what_was_written_can_be_read(line):
    if "torch" in line["value"]:
        pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    value = TreeCodec().value_of_inline(INLINE + json.dumps(line["text"]))
    expected = value_of(line["value"])
    assert type(value) is type(expected)
    # What the two are written as now tells all that there is to tell of them.
    assert TreeCodec().inline_text(value) == TreeCodec().inline_text(expected)


def test_every_expression_has_its_line():
    assert [line["value"] for line in lines()] == EXPRESSIONS


if __name__ == "__main__":
    known = {line["value"] for line in lines()}
    with FILE.open("a", encoding="utf-8") as file:
        for expression in EXPRESSIONS:
            if expression not in known:
                text = TreeCodec().inline_text(value_of(expression))
                assert text is not None
                file.write(json.dumps({"value": expression, "text": json.loads(text[len(INLINE) :])}) + "\n")
