"""Values of rows, as callers have them, to messages of the wire."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.arguments.coerce_arrays import host_array, row_ids
from penult.arguments.labels import indexed
from penult.errors import invalid, shown
from penult.results.notes import Note, Notes
from penult.wire import arrays
from penult_proto.errors import ErrorKind
from penult_proto.limits import MESSAGE_BYTES
from penult_proto.notes import NoteId
from penult_proto.v1 import groupings_pb2

MOST_BYTES = MESSAGE_BYTES - 4 * 2**20
"""Ids and values together; the rest is left for names."""
NO_GROUP = -1
"""The value of a row in no group."""


def uploaded_groups(
    values: ArrayLike | Mapping[int, Any], row_id: ArrayLike | None, names: Sequence[str | int] | None
) -> tuple[groupings_pb2.UploadedGroups, Notes]:
    """Values of rows by their ids, and how they were read. Raises `InvalidRequest`."""
    if isinstance(values, Mapping):
        if row_id is not None:
            raise invalid("values= is a dict by row id already; leave row_id= out", argument="row_id")
        if not values:
            raise invalid("values= is empty: give a value for one row at least", argument="values")
        row_id, values = list(values), list(values.values())
    ids = row_ids(row_id, "row_id")
    array = host_array("values", values)
    if array.shape != ids.shape:
        raise invalid(
            f"values must have shape {ids.shape}, one for each row; got {array.shape}",
            ErrorKind.WRONG_SHAPE,
            array="values",
        )
    distinct, first = np.unique(ids, return_index=True)
    if distinct.size < ids.size:
        repeated = np.delete(ids, first)[0]
        raise invalid(f"row_id must name every row once; row {repeated} is named again", array="row_id")
    if 2 * ids.nbytes > MOST_BYTES:
        raise invalid(
            f"values for {ids.size} rows are more than one request carries, {MOST_BYTES // 16}; leave out rows "
            "that are in no group",
            ErrorKind.TOO_LARGE,
            array="values",
        )
    found, said, notes = _indices(array, names)
    message = build(
        groupings_pb2.UploadedGroups, row_ids=arrays.encode(ids), values=arrays.encode(found), names=said or ()
    )
    return message, notes


def _indices(
    values: NDArray[Any], names: Sequence[str | int] | None
) -> tuple[NDArray[np.int64], tuple[str, ...] | None, Notes]:
    """Values as indices, -1 where a row is in no group; their names, and how they were read."""
    given = None if names is None else coerce.listed("names", names, "['grass', 'gravel']")
    by_number = given is not None and any(not isinstance(one, str) for one in given)
    is_none = np.zeros(values.shape, np.bool_) if values.dtype.kind in "Ub" or by_number else values == NO_GROUP
    found = np.full(values.shape, NO_GROUP, dtype=np.int64)
    kept = values[~is_none]
    if not kept.size:
        raise invalid("values puts no row in a group: -1 means that a row is in none", argument="values")
    labels = indexed("values", kept, kept.size, given, "names")
    found[~is_none] = labels.indices
    if not labels.from_labels:
        return found, labels.names, ()
    said = f"values holds names: sorted, they became names {shown(list(labels.names or ()))}"
    return found, labels.names, (Note(said, NoteId.CLASSES_FROM_LABELS.value),)
