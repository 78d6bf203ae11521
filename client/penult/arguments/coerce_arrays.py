"""Arrays that callers pass, checked and made NumPy arrays; single values are in `coerce`.

Lists, columns of tables and tensors of any library are recognised by their methods, so that none of these libraries has
to be installed. No value is changed: a conversion that would lose a bit is refused.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from penult.errors import InvalidRequest, invalid, shown
from penult_proto.errors import ErrorKind

AnyArray = NDArray[Any]

MOST_LISTED = 5
"""Most rows that a message names."""
EXACT_IN_FLOAT = 2**53
"""float64 holds every whole number up to this one exactly."""


def host_array(argument: str, value: object) -> AnyArray:
    """What a list, array, column or tensor holds: bool, whole numbers, floats or text, on the host.

    Missing values, numbers beyond 64 bits, and types that are none of these raise `InvalidRequest`.
    """
    try:
        array = _from_masked(argument, value)
        if array is None:
            _refuse_missing(argument, value)
            array = np.asarray(_from_device(value))
    except InvalidRequest:
        raise
    except Exception as error:
        raise invalid(
            f"{argument} cannot be read as an array ({error}); got {shown(value)}", argument=argument
        ) from None
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype.kind in "OT" or (array.dtype.kind == "U" and isinstance(value, list | tuple)):
        array = _plain(argument, np.asarray(value, dtype=object) if array.dtype.kind == "U" else array)
    if array.dtype.kind not in "biufU":
        kind = "text as bytes: decode it" if array.dtype.kind == "S" else f"{array.dtype}"
        raise invalid(f"{argument} must hold numbers, bools or text; got {kind}", ErrorKind.WRONG_DTYPE, array=argument)
    return array


def floats(argument: str, value: object, allowed: tuple[str, ...], *, widened: tuple[str, ...] = ()) -> AnyArray:
    """An array of one of the allowed types already: rounding is the caller's decision.

    Types in `widened` become the first allowed one, which holds each of their values. Raises `InvalidRequest`.
    """
    array = host_array(argument, value)
    if array.dtype.name in widened:
        return array.astype(allowed[0])
    if array.dtype.name not in allowed:
        raise invalid(
            f"{argument} must be {' or '.join(allowed)}, stored exactly as given; got {array.dtype.name}: "
            f"convert it yourself, for example {converted(argument, value, allowed[0])}",
            ErrorKind.WRONG_DTYPE,
            array=argument,
        )
    return array


def numbers(argument: str, value: object) -> NDArray[np.float64]:
    """An array of numbers, in float64; bools and text are refused. Raises `InvalidRequest`."""
    array = host_array(argument, value)
    if array.dtype.kind not in "iuf":
        raise invalid(
            f"{argument} must hold numbers; got {array.dtype.name}: "
            f"convert it yourself, for example {converted(argument, value, 'float64')}",
            ErrorKind.WRONG_DTYPE,
            array=argument,
        )
    return array.astype(np.float64, copy=False)


def whole_numbers(argument: str, value: object, *, most: int) -> AnyArray:
    """Whole numbers in 0 .. most, as int64 or, where one needs it, uint64; 6.0 is one. Raises `InvalidRequest`."""
    array = exact_integers(argument, value)
    if array.size and (int(array.min()) < 0 or int(array.max()) > most):
        raise invalid(
            f"{argument} must lie in 0 .. {most}; got {int(array.min())} .. {int(array.max())}",
            ErrorKind.LABEL_OUT_OF_RANGE,
            array=argument,
        )
    return array


def row_ids(value: object, argument: str = "rows") -> NDArray[np.uint64]:
    """(n,) ids of rows, at least one. Raises `InvalidRequest`."""
    ids = whole_numbers(argument, value, most=np.iinfo(np.uint64).max)
    if ids.ndim != 1 or not ids.size:
        raise invalid(f"{argument} lists row ids, at least one; got shape {ids.shape}", ErrorKind.WRONG_SHAPE)
    return ids.astype(np.uint64)


def exact_integers(argument: str, value: object) -> AnyArray:
    """Integers of any sign, from integers or whole floats; text and bools are refused. Raises `InvalidRequest`."""
    array = host_array(argument, value)
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "f" or not array.size:
        return whole_floats(argument, array)
    mend = f"np.flatnonzero({argument})" if array.dtype.kind == "b" else converted(argument, value, "int64")
    raise invalid(
        f"{argument} must be integers; got {array.dtype.name}: convert it yourself, for example {mend}",
        ErrorKind.WRONG_DTYPE,
        array=argument,
    )


def whole_floats(argument: str, array: AnyArray) -> NDArray[np.int64]:
    """Whole floats as integers. Raises `InvalidRequest` naming the rows of other values."""
    exact = array if array.dtype.itemsize > 8 else array.astype(np.float64)
    with np.errstate(invalid="ignore"):
        is_whole = (exact == np.floor(exact)) & (np.abs(exact) <= EXACT_IN_FLOAT)
    if not is_whole.all():
        wrong = np.argwhere(~is_whole)[:, 0] if array.ndim else np.zeros(1, np.int64)
        raise invalid(
            f"{argument} must be integers; got {array[wrong[0]] if array.ndim else array} in {rows_named(wrong)}",
            ErrorKind.WRONG_DTYPE,
            array=argument,
        )
    return array.astype(np.int64)


def converted(argument: str, value: object, dtype: str) -> str:
    """The code that converts an argument, in the syntax of its own library."""
    if hasattr(type(value), "detach"):
        return f"{argument}.to(torch.{dtype})"
    if hasattr(type(value), "astype"):
        return f"{argument}.astype(np.{dtype})"
    return f"np.asarray({argument}, np.{dtype})"


def rows_named(rows: Sequence[int] | NDArray[Any]) -> str:
    """Some row numbers in words."""
    distinct = list(dict.fromkeys(int(row) for row in rows))
    named = ", ".join(str(row) for row in distinct[:MOST_LISTED])
    rest = f" and {len(distinct) - MOST_LISTED} more" if len(distinct) > MOST_LISTED else ""
    return f"row {named}" if len(distinct) == 1 else f"rows {named}{rest}"


def _from_masked(argument: str, value: object) -> AnyArray | None:
    """The data of a masked array of NumPy, whose mask `numpy.asarray` would drop; None for anything else."""
    if not isinstance(value, np.ma.MaskedArray):
        return None
    masked = cast("Any", value)
    _refuse_rows(argument, np.ma.getmaskarray(masked))
    return np.asarray(masked.data)


def _refuse_missing(argument: str, value: object) -> None:
    """Raise `InvalidRequest` for missing values of a table's column: `isna` of pandas, `is_null` of polars."""
    for method in ("isna", "is_null"):
        if hasattr(type(value), method):
            _refuse_rows(argument, np.asarray(getattr(value, method)(), dtype=np.bool_))
            return


def _refuse_rows(argument: str, is_missing: NDArray[np.bool_]) -> None:
    if is_missing.any():
        missing = np.argwhere(is_missing)[:, 0] if is_missing.ndim else [0]
        raise invalid(
            f"{argument} has no value in {rows_named(missing)}: leave such rows out, or give them one",
            ErrorKind.NOT_FINITE,
            array=argument,
        )


def _from_device(value: object) -> object:
    """A tensor as something that NumPy reads: without its gradient, on the host, bfloat16 as float32 (exactly)."""
    tensor = cast("Any", value)
    if hasattr(type(value), "detach") and hasattr(type(value), "cpu"):
        tensor = tensor.detach().cpu()
        if str(tensor.dtype).endswith("bfloat16"):
            tensor = tensor.float()
        if hasattr(tensor, "resolve_neg"):
            tensor = tensor.resolve_neg().resolve_conj()
        return tensor.numpy()
    if hasattr(type(value), "__cuda_array_interface__") and hasattr(type(value), "get"):
        return tensor.get()
    return value


def _plain(argument: str, array: AnyArray) -> AnyArray:
    """An array of Python objects as one of bools, whole numbers, floats or text, where all are of that one sort."""
    members: list[Any] = [one.item() if isinstance(one, np.floating) else one for one in array.ravel().tolist()]
    is_missing = np.asarray([_is_missing(one) for one in members], dtype=np.bool_).reshape(array.shape)
    _refuse_rows(argument, is_missing)
    for is_member, make in _SORTS:
        if all(is_member(one) for one in members):
            try:
                return make(members).reshape(array.shape)
            except OverflowError:
                raise invalid(
                    f"{argument} holds a whole number beyond 64 bits", ErrorKind.LABEL_OUT_OF_RANGE, array=argument
                ) from None
    sorts = sorted({type(one).__name__ for one in members})
    raise invalid(
        f"{argument} must hold numbers, bools or text, all of one sort; got {', '.join(sorts[:MOST_LISTED])}",
        ErrorKind.WRONG_DTYPE,
        array=argument,
    )


def _is_missing(value: object) -> bool:
    """Whether a value is None, NaN, or a missing value of pandas."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not _is_bool(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, float | np.floating) or _is_whole(value)


def _integers(members: list[Any]) -> AnyArray:
    """int64, or uint64 where one is too large for it. Raises OverflowError for a larger one."""
    is_large = any(int(one) > np.iinfo(np.int64).max for one in members)
    return np.array([int(one) for one in members], dtype=np.uint64 if is_large else np.int64)


_SORTS: Sequence[tuple[Callable[[Any], bool], Callable[[list[Any]], AnyArray]]] = (
    (lambda one: isinstance(one, str), lambda members: np.array(members, dtype=np.str_)),
    (_is_bool, lambda members: np.array(members, dtype=np.bool_)),
    (_is_whole, _integers),
    (_is_number, lambda members: np.array(members, dtype=np.float64)),
)
