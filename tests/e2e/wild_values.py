"""Values that callers pass by mistake, on purpose, or because their libraries make them: each under a name."""

import datetime
import enum
import itertools
import pathlib
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import torch


class Colour(enum.StrEnum):
    """Text that is an enumeration's member."""

    RED = "red"


class Hostile:
    """Raises on whatever it is asked."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("no")

    __repr__ = __bool__ = __eq__ = __hash__ = __len__ = __iter__ = __float__ = __index__ = __array__ = _raise
    __getitem__ = __contains__ = __fspath__ = _raise


class Polarlike:
    """A column that NumPy can read, and that says itself where it holds nothing."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array([np.nan if one is None else one for one in self._values], dtype)

    def is_null(self) -> Any:
        return Polarlike([one is None for one in self._values])


class Linear:
    """What a layer looks like."""

    weight = np.ones((2, 3))
    bias = None


def own_member() -> list[Any]:
    """A list that is in itself."""
    found: list[Any] = [1]
    found.append(found)
    return found


NUMBERS = (
    *(True, False, 0, 1, -1, 2, 3, 6.0, 0.0, -0.0, 0.5, 1e-320, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf"), 2**31, -(2**31) - 1, 2**53 + 1, 2**63, 2**64, -(2**63), 10**400, 1j),
    *(Decimal("0.5"), Decimal("NaN"), Decimal("sNaN"), Decimal(6), Fraction(1, 2), Fraction(6)),
    *(np.float16(0.5), np.float32(3), np.longdouble("0.1"), np.int8(-1), np.uint64(2**64 - 1), np.bool_(True)),
    *(np.complex64(1j), np.array(3), np.array(3.0), np.array(True), np.array("x"), np.array([1.0])),
)
TEXTS = (
    "",
    " ",
    "x",
    "0",
    "train",
    "group",
    "none",
    "\ud800",
    "\0",
    "é\u202e🐦",
    "x" * 5000,
    "x" * 200_000,
    "../..",
    "%s",
)
TEXTS_TOO: tuple[Any, ...] = (
    b"x",
    b"\xff",
    bytearray(b"x"),
    np.str_("x"),
    np.bytes_(b"x"),
    Colour.RED,
    "a" * 64,
    "0" * 8,
)
ARRAYS = (
    *(np.zeros(0), np.zeros((0, 3)), np.array([1, 2]), np.array([0.5, 0.5]), np.ones((2, 3)), np.ones((2, 3, 1))),
    *(np.array([None, 1]), np.array([1, "a"], object), np.array([2**70]), np.array(["a", "b"]), np.array([b"a"])),
    *(np.zeros(3, [("x", int), ("y", float)]), np.array(["2020-01-01"], "M8[D]"), np.ones(12, np.complex128)),
    *(np.arange(12), np.arange(12) % 2, np.arange(12) % 2 * 2 - 1, np.arange(12) % 2 + 1, np.arange(24)[::2] % 2),
    *(np.ones((12, 3), np.float32)[:, ::-1], np.ones((12, 3), ">f4"), np.ones((12, 3), np.longdouble)),
    *(
        np.full((12, 3), np.nan, np.float32),
        np.full(12, np.nan),
        np.full(12, np.inf),
        np.ones(12, bool),
        np.ones((12, 3)),
    ),
    np.ma.masked_array(np.arange(12) % 2, mask=np.arange(12) == 3),
    np.asfortranarray(np.ones((12, 3), np.float16)),
)
TENSORS = {
    "tensor float": lambda: torch.ones(12, 3, requires_grad=True),
    "tensor bfloat16": lambda: torch.ones(12, 3, dtype=torch.bfloat16),
    "tensor labels": lambda: torch.arange(12) % 2,
    "tensor scalar": lambda: torch.tensor(3),
    "tensor bool": lambda: torch.ones(12, dtype=torch.bool),
    "tensor of one": lambda: torch.ones(1),
    "tensor sparse": lambda: torch.eye(3).to_sparse(),
    "tensor meta": lambda: torch.ones(12, 3, device="meta"),
    "tensor complex": lambda: torch.ones(12, dtype=torch.complex64).conj(),
    "layer": lambda: torch.nn.Linear(3, 2),
}
COLUMNS = {
    "Series": lambda: pd.Series(np.arange(12) % 2),
    "Series Int64": lambda: pd.Series([0, 1] * 6, dtype="Int64"),
    "Series with NA": lambda: pd.Series([0, None] * 6, dtype="Int64"),
    "Series boolean": lambda: pd.Series([True, None] * 6, dtype="boolean"),
    "Series of text": lambda: pd.Series(["cat", "dog"] * 6),
    "Series of text with None": lambda: pd.Series(["cat", None] * 6),
    "Categorical": lambda: pd.Categorical(["cat", "dog"] * 6),
    "Series of dates": lambda: pd.to_datetime(pd.Series(["2020-01-01"] * 12)),
    "Index": lambda: pd.Index([0, 1] * 6),
    "DataFrame": lambda: pd.DataFrame(np.ones((12, 3), np.float32)),
    "DataFrame mixed": lambda: pd.DataFrame({"a": ["x"] * 12, "b": range(12)}),
    "NA": lambda: pd.NA,
    "NaT": lambda: pd.NaT,
    "polars-like": lambda: Polarlike([0, 1] * 6),
    "polars-like with null": lambda: Polarlike([0, None] * 6),
}
CONTAINERS = {
    "[]": list,
    "()": tuple,
    "{}": dict,
    "set()": set,
    "[1]": lambda: [1],
    "[0.5]": lambda: [0.5],
    "[True]": lambda: [True],
    "['a']": lambda: ["a"],
    "['a', 1]": lambda: ["a", 1],
    "[None]": lambda: [None],
    "['\\ud800']": lambda: ["\ud800"],
    "['']": lambda: [""],
    "ragged": lambda: [[1], [2, 3]],
    "deep": lambda: [[[[1]]]],
    "own member": own_member,
    "{1, 2}": lambda: {1, 2},
    "frozenset": lambda: frozenset("ab"),
    "range": lambda: range(12),
    "long range": lambda: range(10**12),
    "endless": itertools.count,
    "generator": lambda: (one for one in [0, 1] * 6),
    "labels": lambda: [0, 1] * 6,
    "names": lambda: ["cat", "dog"] * 6,
    "{1: 2}": lambda: {1: 2},
    "{'x': None}": lambda: {"x": None},
    "{'\\ud800': 1}": lambda: {"\ud800": 1},
    "{None: nan}": lambda: {None: float("nan")},
    "mappingproxy": lambda: types.MappingProxyType({"l2": [0.1]}),
    "pair": lambda: (np.ones((2, 3)), np.zeros(2)),
    "pair that does not fit": lambda: (np.ones((2, 3)), np.zeros(5)),
    "pair of lists": lambda: ([[1, 2, 3], [4, 5, 6]], [0, 0]),
}
OTHERS = {
    "None": lambda: None,
    "object": object,
    "type": lambda: int,
    "function": lambda: len,
    "module": lambda: np,
    "Ellipsis": lambda: ...,
    "date": lambda: datetime.datetime(2020, 1, 1),
    "Path": lambda: pathlib.Path("/nowhere/at/all"),
    "Path of bytes": lambda: pathlib.PurePosixPath("a\0b"),
    "slice": lambda: slice(3),
    "exception": lambda: ValueError("x"),
    "hostile": Hostile,
    "layer without bias": Linear,
    "memory": lambda: memoryview(b"abc"),
}


def _constants(kind: str, values: tuple[Any, ...]) -> dict[str, Callable[[], Any]]:
    return {f"{kind} {index}: {repr(value)[:30]}": (lambda value=value: value) for index, value in enumerate(values)}


POOLS: dict[str, dict[str, Callable[[], Any]]] = {
    "numbers": _constants("number", NUMBERS),
    "texts": _constants("text", TEXTS) | _constants("text too", TEXTS_TOO),
    "arrays": _constants("array", ARRAYS) | TENSORS | COLUMNS,
    "others": CONTAINERS | OTHERS,
}
"""Makers of the values by sort, each by a name that stands in a failing example."""
WILD: dict[str, Callable[[], Any]] = {name: make for pool in POOLS.values() for name, make in pool.items()}
