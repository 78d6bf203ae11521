"""What the methods share that look at chosen features: their indices, checked."""

import numpy as np

from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Inputs, Integers
from penult_server.errors import ServiceError


def indices_of(inputs: Inputs, most: int) -> Integers:
    """(k,) the features that the question chose. Raises ServiceError (INVALID_ARGUMENT) for what is none."""
    found = np.asarray(inputs.indices, np.int64)
    n_features = int(inputs.source.features.shape[1])
    wrong = found[(found < 0) | (found >= n_features)]
    if wrong.size:
        raise _refused(f"features have indices 0 to {n_features - 1}, got {wrong[0]}")
    if np.unique(found).size < found.size:
        raise _refused("indices must differ from each other: leave out those that repeat")
    if found.size > most:
        raise _refused(f"at most {most} features can be chosen, got {found.size}")
    return found


def _refused(text: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, text, field="indices")
