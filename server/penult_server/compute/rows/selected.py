"""Which rows of a stored feature set a question is about."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.messages import array_from_proto
from penult_server.stores.reading import StoredFeatures
from penult_server.stores.runs import read_run_manifest


def selected_rows(source: pb.FeatureSource, stored: StoredFeatures, root: Path) -> NDArray[np.bool_] | None:
    """(N,) whether each row is selected; None if all are."""
    match source.rows.WhichOneof("kind"):
        case "row_ids":
            wanted = array_from_proto(source.rows.row_ids, "rows").astype(np.uint64)
        case "run":
            wanted = np.asarray(read_run_manifest(root, source.rows.run).kept_row_ids, dtype=np.uint64)
        case None:
            return None
    row_id = stored.read("row_id")
    missing = np.setdiff1d(wanted, row_id)
    if missing.size:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"feature set {stored.manifest.digest[:12]} has no row with id {missing[0]} ({missing.size} of the "
            f"{wanted.size} ids asked for are not in it); client.features.read(...).row_id lists them",
            row_id=missing[0],
        )
    return np.isin(row_id, wanted)
