"""The values of an attribute column: what is known, in the form of what is found."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Found, Inputs, Integers, Rows
from penult_server.errors import ServiceError, unknown

RULE = "attribute"


def find(inputs: Inputs) -> Found:
    """The column that `words["attribute"]` names. Raises ServiceError: INVALID_ARGUMENT, ATTRIBUTE_MISSING."""
    name = inputs.words["attribute"]
    value, names = _column(inputs.source, name)
    return Found(
        value=value,
        names=names,
        rule=RULE,
        rule_arrays={"attribute": np.asarray(name), "names": np.asarray(names, dtype=np.str_)},
    )


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, None]:
    """The same column of other rows: values by their names, -1 for one that the first rows did not know."""
    value, names = _column(rows, str(rule["attribute"]))
    known = {name: index for index, name in enumerate(rule["names"].tolist())}
    return np.asarray([known.get(name, -1) for name in names], dtype=np.int64)[value], None


def _column(rows: Rows, name: str) -> tuple[Integers, tuple[str, ...]]:
    if not rows.attributes:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING, f"these rows have no attribute, and so no column {name!r}: upload their values"
        )
    if name not in rows.attributes:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "attribute column", name, list(rows.attributes))
    return rows.attributes[name]
