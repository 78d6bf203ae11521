"""Labels as callers have them (text, bools, whole floats, or values in a given order), converted to stored indices.

Stored labels count from 0. Labels that count otherwise are accepted when their values are given in order, and else
refused, with the line of code that maps them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult.arguments import coerce
from penult.arguments.coerce_arrays import AnyArray, exact_integers, host_array, rows_named
from penult.errors import InvalidRequest, invalid, shown
from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_LABELS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Indexed:
    """Labels as indices."""

    indices: NDArray[np.int64]
    """(N,)"""
    names: tuple[str, ...] | None
    """Names of the labels in the order of their indices; None where they have none and go by number."""
    from_labels: bool
    """Whether `names` are the labels themselves, sorted."""


def indexed(argument: str, labels: object, n_rows: int, names: Iterable[Any] | None, names_argument: str) -> Indexed:
    """Labels (N,) as indices from 0.

    Text is looked up in `names`, or without them sorted to become the names. Numbers are looked up in `names` when
    these are numbers, and else are indices already. Raises `InvalidRequest`.
    """
    array = host_array(argument, labels)
    _check_shape(argument, array, n_rows)
    values = None if names is None else coerce.listed(names_argument, names, "['cat', 'dog']")
    by_number = values is not None and bool(values) and not any(isinstance(one, str) for one in values)
    known = None if values is None else _names(names_argument, values, by_number=by_number)
    if array.dtype.kind == "U":
        return _from_text(argument, array, known, names_argument)
    numbers = array.astype(np.int64) if array.dtype.kind == "b" else exact_integers(argument, array)
    if by_number:
        legal = exact_integers(names_argument, values)
        return Indexed(indices=_found(argument, numbers, legal, names_argument), names=known, from_labels=False)
    _check_indices(argument, numbers, names_argument, n_names=None if known is None else len(known))
    return Indexed(indices=numbers.astype(np.int64), names=known, from_labels=False)


def training_counts(
    counts: Mapping[Any, Any], classes: Sequence[str], values: Sequence[str], present: NDArray[np.int64]
) -> list[int]:
    """Training examples of each group by its index, y * A + a, from a dict that has every group in `present`.

    A group is named as it prints ("cat, indoors"), by its class and value, by (y, a), or by its index. Raises
    `InvalidRequest`.
    """
    group_names = [", ".join(pair) for pair in _pairs(classes, values)]
    keys = _group_keys(classes, values)
    found: dict[int, int] = {}
    for key, count in coerce.items("train_counts", counts, "{('cat', 'indoors'): 3498}"):
        index = keys.get(key)
        if index is None or index in found:
            reason = "names no group" if index is None else "names a group that it has named before"
            raise invalid(
                f"train_counts: {shown(key)} {reason}; the groups are {shown(group_names)}, each named so, by "
                "(y, a) or by its index",
                argument="train_counts",
            )
        found[index] = coerce.whole(f"train_counts[{shown(key)}]", count, 0, coerce.INT32)
    rows: list[int] = present.tolist()
    missing = [group_names[index] for index in rows if index not in found]
    if missing or not any(found.values()):
        problem = (
            f"none for {shown(missing)}, which has rows here: give 0 where it has none" if missing else "only zeros"
        )
        raise invalid(
            f"train_counts must hold the training examples of every group; got {problem}", argument="train_counts"
        )
    return [found.get(index, 0) for index in range(len(group_names))]


def _pairs(classes: Sequence[str], values: Sequence[str]) -> list[tuple[str, ...]]:
    """(class, value) of every group in the order of its index; (class,) without an attribute."""
    return [(name, value) for name in classes for value in values] if values else [(name,) for name in classes]


def _group_keys(classes: Sequence[str], values: Sequence[str]) -> dict[object, int]:
    """Group index by everything that may name a group; text that two groups print as is left out."""
    keys: dict[object, int] = {}
    numbers, value_numbers = _numbers(classes), _numbers(values) if values else [0]
    printed = [", ".join(pair) for pair in _pairs(classes, values)]
    for index, pair in enumerate(_pairs(classes, values)):
        y, a = divmod(index, len(value_numbers))
        keys |= {pair: index, (numbers[y], value_numbers[a]): index}
        if not values:
            keys[numbers[y]] = index
        elif (*numbers, *value_numbers) == (*range(len(numbers)), *range(len(values))):
            keys[index] = index
        if printed.count(printed[index]) == 1:
            keys[printed[index]] = index
    return keys


def _numbers(names: Sequence[str]) -> list[int]:
    """The number that stands for each name: the name itself where all are numbers, else its index."""
    try:
        found = [int(name) for name in names]
    except ValueError:
        return list(range(len(names)))
    return found if [str(one) for one in found] == list(names) else list(range(len(names)))


def _check_shape(argument: str, array: AnyArray, n_rows: int) -> None:
    if array.shape != (n_rows,):
        raise invalid(
            f"{argument} must have shape ({n_rows},), one entry per row of features; got {array.shape}",
            ErrorKind.WRONG_SHAPE,
            array=argument,
        )


def _names(argument: str, values: Sequence[object], *, by_number: bool) -> tuple[str, ...]:
    """Distinct names of labels; numbers become their digits."""
    if any(isinstance(one, bool | np.bool_) for one in values):
        raise invalid(f"{argument} takes names, or whole numbers; got {shown(values)}", argument=argument)
    if by_number:
        numbers: list[int] = exact_integers(argument, list(values)).ravel().tolist()
        found = tuple(str(one) for one in numbers)
    else:
        found = tuple(coerce.text(f"{argument}[{index}]", one) for index, one in enumerate(values))
    if not found or len(set(found)) < len(found) or "" in found:
        raise invalid(
            f"{argument} must name each label once, with a name; got {shown(list(values))}", argument=argument
        )
    return found


def _from_text(argument: str, array: AnyArray, known: tuple[str, ...] | None, names_argument: str) -> Indexed:
    distinct, inverse = np.unique(array, return_inverse=True)
    if known is not None:
        return Indexed(
            indices=_found(argument, array, np.array(known, dtype=np.str_), names_argument),
            names=known,
            from_labels=False,
        )
    if distinct.size > MOST_LABELS:
        raise invalid(
            f"{argument} holds {distinct.size} different texts, more than {MOST_LABELS}: are these labels?",
            ErrorKind.LABEL_OUT_OF_RANGE,
            array=argument,
        )
    found = _names(argument, [str(one) for one in distinct], by_number=False)
    return Indexed(indices=inverse.astype(np.int64), names=found, from_labels=True)


def _found(argument: str, labels: AnyArray, legal: AnyArray, names_argument: str) -> NDArray[np.int64]:
    """(N,) position of each label in `legal`."""
    order = np.argsort(legal)
    at = np.minimum(np.searchsorted(legal, labels, sorter=order), len(legal) - 1)
    indices = order[at]
    unknown = np.flatnonzero(legal[indices] != labels)
    if unknown.size:
        raise invalid(
            f"{argument} holds {shown(labels[unknown[0]].item())} in {rows_named(unknown)}, which is not in "
            f"{names_argument}: {shown(legal.tolist())}",
            ErrorKind.LABEL_OUT_OF_RANGE,
            array=argument,
        )
    return indices.astype(np.int64)


def _check_indices(argument: str, labels: AnyArray, names_argument: str, *, n_names: int | None) -> None:
    """Raise `InvalidRequest` for labels that do not count from 0."""
    if not labels.size:
        return
    least, most = int(labels.min()), int(labels.max())
    if most >= MOST_LABELS:
        raise invalid(
            f"{argument} goes up to {most}; labels count from 0 and at most {MOST_LABELS} are allowed",
            ErrorKind.LABEL_OUT_OF_RANGE,
            array=argument,
        )
    if least < 0:
        distinct: list[int] = np.unique(labels).tolist()
        raise _counted_otherwise(argument, distinct, names_argument)
    if least == 1 and most > 1 and (n_names is None or most == n_names):
        distinct = np.unique(labels).tolist()
        if distinct == list(range(1, most + 1)):
            raise _counted_otherwise(argument, distinct, names_argument)


def _counted_otherwise(argument: str, distinct: list[int], names_argument: str) -> InvalidRequest:
    """The refusal of labels that count otherwise, with the line that maps them."""
    if distinct == [-1, 1]:
        mend = f"{argument} = (np.asarray({argument}) + 1) // 2"
    elif distinct[0] == 1:
        mend = f"{argument} = np.asarray({argument}) - 1"
    else:
        mend = f"{argument} = np.unique({argument}, return_inverse=True)[1]"
    return invalid(
        f"{argument} must count from 0; got the labels {shown(distinct)}. Map them: `{mend}`; or give the values "
        f"in their order: {names_argument}={shown(distinct)}",
        ErrorKind.LABEL_OUT_OF_RANGE,
        array=argument,
    )
