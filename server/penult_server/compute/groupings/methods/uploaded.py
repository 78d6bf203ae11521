"""Values that a caller gives for row ids, found by whatever means."""

import numpy as np

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.compute.groupings.found import Found, Inputs
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.row_ids import places_of


def find(inputs: Inputs) -> Found:
    """The values by the rows of the source; -1 for rows that were not named, with a note.

    Raises ServiceError (OTHER_ROWS) for a row that the source has not.
    """
    given = inputs.uploaded
    if given is None:
        raise AssertionError("checked by the front")
    rows = inputs.source.row_id
    at, missing = places_of(rows, given.row_id)
    if missing.size:
        raise ServiceError(
            ErrorKind.OTHER_ROWS,
            f"{missing.size} of {given.row_id.size} rows are not in the feature set, such as row {missing[0]}: give "
            "values for its own rows, which client.features.read(...).row_id lists",
            row=missing[0],
        )
    value = np.full(rows.size, -1, dtype=np.int64)
    value[at] = given.value
    left = rows.size - given.row_id.size
    said = f"{left} of {rows.size} rows were given no value: they are in no group, and left out where groups are asked"
    return Found(value=value, names=given.names, notes=(Note(NoteId.ROWS_WITHOUT_GROUP, said),) if left else ())
