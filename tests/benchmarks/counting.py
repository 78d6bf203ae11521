"""A device without a GPU: arrays over NumPy that count what they would have a GPU do.

`xp` is an array namespace and `asarray(values)` makes its arrays. Inside `counted()` every call is counted:

* **launches**: kernels, by CuPy's ways of computing each function (`RULES`): one for a function of the elements,
  a reduction, a gather or a product, and one more for each operand that cuBLAS cannot read as it lies; one for each
  part of a concatenation. A library's own kernels inside one call of it are not known: a stacked solve counts as 8,
  an eigendecomposition or a singular value decomposition as 2, a QR of one matrix as 6.
* **waits**: the host waits for the device: float(), int(), bool(), a copy to the host, a result whose size depends
  on values.
* **uploads**: host arrays copied to the device.
* **bytes** that the launches read and write, and **flops** of the products: over what a device does in a second, a
  bound on the time that no number of launches gets below.

Nothing is computed uncounted. The array has no buffer, no `__array__` and no attribute but those below; a function
without a rule does not exist; and a call whose rule says that nothing is launched must return views of its
arguments.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import array_api_compat.numpy as host
import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult_kernels import arrays, products
from penult_kernels.linear import elements
from penult_kernels.linear.elements import Elementwise

BATCHED_SOLVE = 8
"""Launches of a stacked solve by cuBLAS: copies of the operands, their pointers, factors, pivots, substitutions."""
MOST_BATCHED = 256
"""Size of the matrices up to which CuPy solves a stack by one call; larger ones take 4 launches each."""


THROUGH = (__file__, arrays.__file__, products.__file__, elements.__file__)
"""Files that a launch is not said to come from, but from who called them."""
SMALL_PART = 2 * 2**20
"""Mean bytes of the parts of a concatenation that CuPy makes by one launch."""


@dataclass(slots=True)
class Counts:
    """What was done on the device."""

    launches: Counter[str] = field(default_factory=Counter)
    """By function."""
    waits: Counter[str] = field(default_factory=Counter)
    waited: Counter[str] = field(default_factory=Counter)
    """Waits by the function of the kernels."""
    places: Counter[str] = field(default_factory=Counter)
    """Launches by the function of the kernels that asked for them."""
    uploads: int = 0
    bytes_moved: int = 0
    flops: dict[int, int] = field(default_factory=lambda: {4: 0, 8: 0})
    """Of products, by the bytes of a number."""

    @property
    def n_launches(self) -> int:
        """In all."""
        return sum(self.launches.values())

    @property
    def n_waits(self) -> int:
        """In all."""
        return sum(self.waits.values())


class _Meter:
    """Where the counts go: nowhere outside of `counted`."""

    now: Counts | None = None


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what is done on the device."""
    assert _Meter.now is None, "already counting"
    _Meter.now = Counts()
    try:
        yield _Meter.now
    finally:
        _Meter.now = None


class Device:
    """The device that all arrays here are on."""

    def __repr__(self) -> str:
        return "counting"


DEVICE = Device()


def _bytes(values: NDArray[Any]) -> int:
    """Of memory: an axis that was broadcast is read once."""
    steps = zip(values.shape, values.strides, strict=True)
    return values.itemsize * math.prod(length for length, stride in steps if stride)


def _launch(name: str, number: int, *touched: NDArray[Any]) -> None:
    if _Meter.now is not None and number:
        _Meter.now.launches[name] += number
        _Meter.now.places[_place()] += number
        _Meter.now.bytes_moved += sum(_bytes(one) for one in touched)


def _place() -> str:
    """The innermost function outside this module."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename in THROUGH and frame.f_back is not None:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"


def _wait(name: str) -> None:
    if _Meter.now is not None:
        _Meter.now.waits[name] += 1
        _Meter.now.waited[_place()] += 1


def _held(value: Any) -> Any:
    """What NumPy computes with; refuses arrays of the host, which CuPy does, too."""
    if isinstance(value, CountedArray):
        return value._held
    if isinstance(value, (list, tuple)) and any(isinstance(one, CountedArray) for one in value):
        return type(value)(_held(one) for one in value)
    if isinstance(value, np.ndarray):
        raise TypeError("an array of the host met one of the device: copy it there first (asarray_like)")
    return value


def _wrapped(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_wrapped(one) for one in value)
    if isinstance(value, list):
        return [_wrapped(one) for one in value]
    return CountedArray(np.asarray(value))


def _arrays(values: Any) -> list[NDArray[Any]]:
    """The arrays in arguments, sequences of them included."""
    if isinstance(values, np.ndarray):
        return [values]
    return [one for value in values for one in _arrays(value)] if isinstance(values, (list, tuple)) else []


class CountedArray:
    """An array of the device. Its numbers come to the host only where that is counted."""

    __slots__ = ("_held",)
    __array_ufunc__ = None
    """NumPy's functions refuse it."""
    __iter__ = None
    """Its rows are not gone through by accident."""
    __hash__ = None

    def __init__(self, held: NDArray[Any]) -> None:
        self._held = held

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return xp

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("NumPy cannot read an array of the device")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"{function.__name__} of NumPy cannot read an array of the device")

    def __repr__(self) -> str:
        return f"CountedArray{self.shape} {self.dtype}"

    def __len__(self) -> int:
        return len(self._held)

    @property
    def shape(self) -> tuple[int, ...]:
        """Known to the host."""
        return self._held.shape

    @property
    def ndim(self) -> int:
        """Known to the host."""
        return self._held.ndim

    @property
    def size(self) -> int:
        """Known to the host."""
        return self._held.size

    @property
    def dtype(self) -> Any:
        """Known to the host."""
        return self._held.dtype

    @property
    def device(self) -> Device:
        """This one."""
        return DEVICE

    @property
    def T(self) -> "CountedArray":
        """A view."""
        return CountedArray(self._held.T)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._held.__dlpack_device__()

    def __dlpack__(self, **_: Any) -> Any:
        _wait("to_host")
        # A copy: what the device writes later must not reach it.
        return self._held.copy().__dlpack__()

    def __bool__(self) -> bool:
        _wait("bool")
        return bool(self._held)

    def __float__(self) -> float:
        _wait("float")
        return float(self._held)

    def __int__(self) -> int:
        _wait("int")
        return int(self._held)

    def __index__(self) -> int:
        _wait("int")
        return self._held.__index__()

    def __getitem__(self, key: Any) -> "CountedArray":
        at = _held(key)
        found = np.asarray(self._held[at])
        index = _arrays(at)
        if any(one.dtype == bool for one in index):
            _wait("mask")
            _launch("mask", 5, found, found, *index)
        elif index:
            _launch("gather", 1, found, found, *index)
        return CountedArray(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        at = _held(key)
        there = self._held[at]
        self._held[at] = _held(value)
        _launch("write", 1, np.asarray(there), *_arrays(_held(value)), *_arrays(at))


def _operator(name: str) -> Callable[..., Any]:
    def operate(self: CountedArray, *others: Any) -> Any:
        given = [_held(one) for one in others]
        found = getattr(self._held, name)(*given)
        if found is NotImplemented:
            return found
        if "matmul" in name:
            pair = (self._held, *given) if name == "__matmul__" else (*given, self._held)
            _count_product(*pair, np.asarray(found))
        else:
            _launch(name.strip("_"), 1, self._held, *_arrays(given), np.asarray(found))
        return self if found is self._held else CountedArray(np.asarray(found))

    return operate


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
OPERATORS = (
    *(f"__{prefix}{name}__" for name in _BINARY for prefix in ("", "r", "i")),
    *(f"__{name}__" for name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert")),
    "__matmul__",
    "__rmatmul__",
)
for _name in OPERATORS:
    setattr(CountedArray, _name, _operator(_name))


def _count_product(left: NDArray[Any], right: NDArray[Any], found: NDArray[Any]) -> None:
    """One launch, and one for each operand of another type or that does not lie as cuBLAS reads it."""
    number = 1
    stacked = max(left.ndim, right.ndim) > 2
    for operand in (left, right):
        lies_well = operand.flags.c_contiguous or (operand.flags.f_contiguous and not stacked)
        number += int(not lies_well or operand.dtype != found.dtype)
        # A matrix that the whole stack has in common goes by a list of pointers, which is made on the device.
        number += 2 * int(stacked and operand.shape[:-2] != (left if left.ndim > right.ndim else right).shape[:-2])
    _launch("matmul", number, left, right, found)
    if _Meter.now is not None:
        _Meter.now.flops[found.itemsize] += 2 * found.size * left.shape[-1]


Rule = int | Callable[[tuple[Any, ...], dict[str, Any], Any], int]


def _copies(args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> int:
    """One for each array that is not a view."""
    given = _arrays(args)
    return sum(not any(np.shares_memory(one, other) for other in given) for one in _arrays(found) if one.size)


def _parts(args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> int:
    """One for each part; more than 8 small ones of one type go by a list of pointers, which is uploaded, in one."""
    parts = args[0]
    is_small = sum(one.nbytes for one in parts) < SMALL_PART * len(parts)
    if len(parts) <= 8 or not is_small or any(one.dtype != parts[0].dtype for one in parts):
        return len(parts)
    if _Meter.now is not None:
        _Meter.now.uploads += 1
    return 1


def _matrices(per_matrix: int, once: int) -> Rule:
    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> int:
        return once + per_matrix * math.prod(args[0].shape[:-2])

    return rule


def _norm(args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> int:
    """One reduction; over all axes it goes through a flat copy where the array does not lie in one piece."""
    return 1 + int(kwargs.get("axis") is None and not args[0].flags.c_contiguous)


def _solve(args: tuple[Any, ...], kwargs: dict[str, Any], found: Any) -> int:
    matrix = args[0]
    if matrix.ndim == 2:
        return 4
    return BATCHED_SOLVE if matrix.shape[-1] <= MOST_BATCHED else 1 + 4 * math.prod(matrix.shape[:-2])


VIEWS = (
    "reshape", "permute_dims", "matrix_transpose", "broadcast_to", "broadcast_arrays", "flip", "expand_dims", "squeeze",
    "moveaxis", "astype", "linalg.diagonal",
)  # fmt: skip
ELEMENTWISE = (
    "abs", "sqrt", "exp", "expm1", "log", "log1p", "tanh", "sign", "square", "floor", "ceil", "maximum", "minimum",
    "where", "isfinite", "isnan", "isinf", "logical_and", "logical_or", "logical_not", "nextafter", "add", "multiply",
    "logaddexp",
)  # fmt: skip
REDUCTIONS = ("sum", "prod", "max", "min", "mean", "any", "all", "argmax", "argmin", "count_nonzero", "linalg.trace")
NEW = ("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "arange")
RULES: dict[str, Rule] = {
    **dict.fromkeys(VIEWS, _copies),
    **dict.fromkeys((*ELEMENTWISE, *REDUCTIONS, *NEW, "take", "take_along_axis", "searchsorted", "repeat"), 1),
    "eye": 2,
    "concat": _parts,
    "stack": _parts,
    "var": 3,
    "std": 4,
    "cumulative_sum": 2,
    "clip": 3,
    "sort": 3,
    "argsort": 4,
    "nonzero": 4,
    "linalg.vecdot": 3,
    "linalg.vector_norm": _norm,
    "linalg.solve": _solve,
    "linalg.cholesky": 3,
    "linalg.qr": _matrices(2, 4),
    "linalg.eigh": 2,
    "linalg.eigvalsh": 2,
    "linalg.svdvals": 2,
    "linalg.svd": 2,
}
"""Launches of each function, but products, new empty arrays and copies from the host."""
SIZED_BY_VALUES = ("nonzero",)
CONSTANTS = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
    "inf",     "nan", "pi", "e", "newaxis", "finfo", "iinfo", "isdtype", "result_type", "can_cast",
)  # fmt: skip


class Namespace:
    """The functions that have a rule."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        full = self._prefix + name
        if full in CONSTANTS:
            return _metadata(getattr(host, name))
        if full not in RULES:
            raise AttributeError(f"no rule says how many launches {full} takes on a device: add one to RULES")
        return _function(full)


def _metadata(value: Any) -> Any:
    """A constant or type, or a function of the types of arrays."""
    if isinstance(value, type) or not callable(value):
        return value

    def of_types(*args: Any) -> Any:
        return value(*(one.dtype if isinstance(one, CountedArray) else one for one in args))

    return of_types


def _on_device(kwargs: dict[str, Any]) -> dict[str, Any]:
    kept = dict(kwargs)
    if kept.pop("device", None) not in (None, DEVICE):
        raise ValueError(f"expected an array of the device {DEVICE}, got {kwargs['device']}")
    return kept


def _function(name: str) -> Callable[..., Any]:
    owner, _, last = name.rpartition(".")
    compute = getattr(host.linalg if owner else host, last)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = tuple(_held(one) for one in args)
        named = {key: _held(value) for key, value in _on_device(kwargs).items()}
        found = compute(*given, **named)
        results = [np.asarray(one) for one in found] if isinstance(found, (tuple, list)) else [np.asarray(found)]
        rule = RULES[name]
        number = rule(given, named, results) if callable(rule) else rule
        if not any(one.size for one in results):
            number = 0
        if not number and _copies(given, named, results):
            raise AssertionError(f"{name} made an array without a launch")
        read = results if name in ("take", "take_along_axis") else _arrays((*given, *named.values()))
        _launch(last, number, *read, *results)
        if name in SIZED_BY_VALUES:
            _wait(name)
        return _wrapped(found)

    return call


def _empty(shape: Any, *, dtype: Any = None, device: Any = None) -> CountedArray:
    """Memory without a launch, filled with what shows when it is read."""
    _on_device({"device": device})
    made = np.empty(shape, dtype)
    if made.dtype.kind == "f":
        made.fill(np.nan)
    return CountedArray(made)


def asarray(
    values: ArrayLike | CountedArray, *, dtype: Any = None, device: Any = None, copy: Any = None
) -> CountedArray:
    """An array of the device: an upload, or a copy there where one is needed."""
    _on_device({"device": device})
    if isinstance(values, CountedArray):
        found = np.array(values._held, dtype=dtype, copy=copy)
        if not np.shares_memory(found, values._held):
            _launch("copy", 1, values._held, found)
        return CountedArray(found)
    if _Meter.now is not None:
        _Meter.now.uploads += 1
    return CountedArray(np.array(values, dtype=dtype))


def _matmul(left: CountedArray, right: CountedArray) -> CountedArray:
    return left @ right


def _by_one_launch(function: Elementwise, *arrays: CountedArray) -> tuple[CountedArray, ...]:
    """A kernel of our own: one launch, which reads its arguments and writes its results."""
    given = [one._held for one in arrays]
    assert len({one.dtype for one in given}) == 1, f"{function.name} takes arrays of one type, got {given}"
    results = [np.asarray(one) for one in function.on_arrays(*given)]
    _launch(function.name, 1, *given, *results)
    return tuple(map(CountedArray, results))


xp: Any = Namespace()
xp.__name__ = "counting"
xp.linalg = Namespace("linalg.")
xp.asarray = asarray
xp.empty = _empty
xp.empty_like = lambda like, **kwargs: _empty(like.shape, **{"dtype": like.dtype, **kwargs})
xp.matmul = _matmul
xp.by_one_launch = _by_one_launch


def of_host(values: Sequence[Any]) -> tuple[CountedArray, ...]:
    """Several host arrays on the device, uncounted where nothing is counted yet."""
    return tuple(asarray(one) for one in values)
