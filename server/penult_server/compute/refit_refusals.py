"""What the kernels refuse, as the request that cannot be met."""

import numpy as np

from penult_kernels.selection import EmptyLabelError
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.resident import Resident
from penult_server.errors import ServiceError


def explained(error: Exception, request: pb.RefitRequest, resident: Resident) -> Exception:
    """What the kernels refuse, as the request that cannot be met."""
    if isinstance(error, EmptyLabelError):
        return _empty(error, request, resident)
    if isinstance(error, np.linalg.LinAlgError):
        return ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the features are too large, or too unlike each other in size, for the solver's arithmetic ({error}): "
            "divide them by a common scale before they are stored",
        )
    if isinstance(error, ValueError):
        return ServiceError(ErrorKind.INVALID_ARGUMENT, str(error))
    return error


def _empty(error: EmptyLabelError, request: pb.RefitRequest, resident: Resident) -> ServiceError:
    manifest = resident.manifest
    labels = manifest.labels
    is_group = error.n_labels != len(labels.classes)
    if is_group and request.groups == pb.GROUP_SOURCE_STORED:
        y, a = divmod(error.label, labels.n_attributes)
        name = f"group {error.label} ({labels.classes[y]}, {labels.attribute_values[a]})"
    elif is_group:
        y, environment = divmod(error.label, 2)
        name = f"environment {environment} of class {labels.classes[y]}"
    else:
        name = f"class {error.label} ({labels.classes[error.label]})"
    mend = "use a set, or a half, that has all of them"
    if is_group:
        mend += ", or balance the groups that are there with missing_groups='skip'"
    return ServiceError(
        ErrorKind.EMPTY_GROUP,
        f"{name} has no example among the rows of feature set {manifest.digest[:12]} that are fitted, so it cannot be "
        f"balanced or fitted; {mend}",
        label=error.label,
        by="group" if is_group else "class",
    )
