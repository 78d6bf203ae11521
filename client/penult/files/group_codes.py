"""Groups that are stored as one number: how it was made is asked for, since both ways fit most files.

Group DRO, WILDS and penult count g = y * A + a; others g = a * C + y. The refusal shows the rows of every group by
either, so that whoever knows the data sees which is meant.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from penult.arguments.coerce import check_choice, whole
from penult.arguments.coerce_arrays import exact_integers
from penult.errors import invalid
from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_LABELS

GroupCoding: TypeAlias = Literal["y*A+a", "a*C+y"]
CODINGS: tuple[GroupCoding, ...] = ("y*A+a", "a*C+y")
MOST_SHOWN = 24
"""Most groups of the table in a message."""


def decoded(
    g: object, n_attributes: int | None, coding: GroupCoding | None, y: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Classes and attribute values (N,) of group numbers (N,).

    Raises `InvalidRequest` where the number of values or the coding is not given, and where the classes in `y` differ
    from those that the coding gives.
    """
    groups = _groups(g)
    if n_attributes is None or coding is None:
        raise _question(groups, n_attributes, y)
    check_choice("group_coding", coding, CODINGS)
    by_class, by_value = _split(groups, whole("n_attributes", n_attributes), coding)
    if y is not None and not np.array_equal(y, by_class):
        row = int(np.argmax(y != by_class))
        raise invalid(
            f"by group_coding={coding!r} and n_attributes={n_attributes}, row {row} with g = {groups[row]} is of class "
            f"{by_class[row]}, but its y is {y[row]}.{_table(groups, n_attributes, y)}",
            argument="group_coding",
        )
    return by_class, by_value


def _groups(g: object) -> NDArray[np.int64]:
    groups = exact_integers("g", g)
    if groups.ndim != 1 or not groups.size or int(groups.min()) < 0 or int(groups.max()) >= MOST_LABELS:
        raise invalid(
            f"g must be one number in 0 .. {MOST_LABELS - 1} for each row; got shape {groups.shape}"
            + (f", {groups.min()} .. {groups.max()}" if groups.size else ""),
            ErrorKind.LABEL_OUT_OF_RANGE,
            argument="g",
        )
    return groups.astype(np.int64)


def _split(
    groups: NDArray[np.int64], n_attributes: int, coding: GroupCoding
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if coding == "y*A+a":
        return groups // n_attributes, groups % n_attributes
    n_classes = -(-(int(groups.max()) + 1) // n_attributes)
    return groups % n_classes, groups // n_classes


def _question(groups: NDArray[np.int64], n_attributes: int | None, y: NDArray[np.int64] | None) -> Exception:
    missing = [
        text
        for text, value in (("n_attributes=, the number of attribute values A", n_attributes), ("group_coding=", None))
        if value is None
    ]
    return invalid(
        "the file has groups, but not what they are made of, and that is not guessed: give "
        f"{' and '.join(missing)}, one of 'y*A+a' (Group DRO, WILDS, penult) and 'a*C+y'; or name the array of "
        f"attribute values, columns={{'a': ...}}.{_table(groups, n_attributes, y)}",
        argument="group_coding",
    )


def _table(groups: NDArray[np.int64], n_attributes: int | None, y: NDArray[np.int64] | None) -> str:
    """Rows of each group, and its class and value by either coding where the number of values is known."""
    found, counts = np.unique(groups, return_counts=True)
    header = ["g", "rows"]
    columns = [[str(group) for group in found], [str(count) for count in counts]]
    for coding in CODINGS if n_attributes else ():
        by_class, by_value = _split(found, whole("n_attributes", n_attributes), coding)
        header.append(f"by {coding}")
        columns.append([f"y={one} a={value}" for one, value in zip(by_class, by_value, strict=True)])
    if y is not None:
        header.append("y in the file")
        columns.append([", ".join(map(str, np.unique(y[groups == group])[:4])) for group in found[:MOST_SHOWN]])
    rows = list(zip(*(column[:MOST_SHOWN] for column in columns), strict=True))
    rest = f"\n  and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    return "\n  " + "\n  ".join(lines) + rest
