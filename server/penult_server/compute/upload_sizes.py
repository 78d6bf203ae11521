"""What an upload announces, held against limits, memory and disk before the first byte of it is taken."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_GROUP_NAMES, MOST_LABELS, MOST_NAME, MOST_ROW_BYTES
from penult_proto.v1 import arrays_pb2, features_pb2
from penult_server.compute.memory import host_bytes
from penult_server.errors import ServiceError
from penult_server.stores.places.opening import read_place

COPIES = 3
"""Copies of the arrays that are held in memory: the bytes that came, the array, and what is made of it."""


def check_names(header: features_pb2.UploadHeader) -> None:
    """Raise ServiceError (TOO_LARGE) for too many, or too long, names of classes, attribute values and masks."""
    labels = header.labels
    every = (*labels.classes, *labels.attribute_values, *labels.masks, labels.attribute, *header.head_classes)
    longest = max(every, key=len)
    if len(longest) > MOST_NAME:
        raise ServiceError(
            ErrorKind.TOO_LARGE,
            f"a name has at most {MOST_NAME} characters, got one of {len(longest)}: {longest[:40]!r}...",
            limit=MOST_NAME,
            got=len(longest),
        )
    n_classes, n_values = max(len(labels.classes), 1), max(len(labels.attribute_values), 1)
    if n_classes * n_values > MOST_LABELS:
        raise ServiceError(
            ErrorKind.TOO_LARGE,
            f"{n_classes} classes x {n_values} attribute values make {n_classes * n_values} groups, more than "
            f"{MOST_LABELS}; name only those that the rows have",
            limit=MOST_LABELS,
            got=n_classes * n_values,
        )
    in_classes, in_values = (sum(map(len, names)) for names in (labels.classes, labels.attribute_values))
    total = in_classes * n_values + in_values * n_classes
    if total > MOST_GROUP_NAMES:
        raise ServiceError(
            ErrorKind.TOO_LARGE,
            f"the names of all {n_classes * n_values} groups have {total} characters together, and {MOST_GROUP_NAMES} "
            "are allowed; give shorter names",
            limit=MOST_GROUP_NAMES,
            got=total,
        )


def check_space(root: Path, headers: Sequence[arrays_pb2.ArrayHeader]) -> None:
    """Raise ServiceError where what is announced has too long rows (TOO_LARGE), or exceeds the free memory
    (OUT_OF_MEMORY: of all but the features, whose rows pass through) or the free disk (DISK_FULL)."""
    for header in headers:
        n_rows = header.shape[0] if header.shape else 1
        row = header.total_bytes // max(n_rows, 1)
        if math.prod(header.shape) and row > MOST_ROW_BYTES:
            raise ServiceError(
                ErrorKind.TOO_LARGE,
                f"a row of {header.name} has {row} bytes, and {MOST_ROW_BYTES} are allowed; upload fewer columns",
                limit=MOST_ROW_BYTES,
                got=row,
            )
    held, free = COPIES * sum(header.total_bytes for header in headers[:-1]), host_bytes()
    if free is not None and held > free:
        raise ServiceError(
            ErrorKind.OUT_OF_MEMORY,
            f"labels, ids and logits of {headers[-1].shape[0]} rows need {held / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} are free; upload fewer rows in a set",
            needed=held,
            available=free,
        )
    total, space = sum(header.total_bytes for header in headers), shutil.disk_usage(root).free
    if total > space and read_place(root) is None:
        raise ServiceError(
            ErrorKind.DISK_FULL,
            f"the arrays have {total / 2**30:.1f} GiB, and the server's disk has {space / 2**30:.1f} free; nothing was "
            "stored",
            needed=total,
            available=space,
        )
