"""Questions about spectra as messages of the wire; what is plainly wrong is refused here."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from penult import arrays
from penult.choices import SPECTRA_BY, By, check_choice
from penult.encode import FeatureSetLike, check_number, check_seed, feature_set_name
from penult.errors import invalid
from penult.records import Checkpoint, FeatureSet, Run
from penult_proto.v1 import spectra_pb2

SourceLike: TypeAlias = FeatureSetLike | Checkpoint
"""A feature set; or a checkpoint (a record, or with ``split=`` its digest), meaning its features of that split."""
RowsLike: TypeAlias = NDArray[Any] | Sequence[int] | Run
"""Row ids, or a run, meaning the training examples that its balancing kept."""


def feature_source(features: SourceLike, split: str | None, rows: RowsLike | None) -> spectra_pb2.FeatureSource:
    """What a query looks at. Raises `InvalidRequest`."""
    selection = None if rows is None else row_selection(rows)
    if isinstance(features, Checkpoint):
        if not split:
            raise invalid(f"{features!r} has features of several splits; say which, such as split='train'")
        return spectra_pb2.FeatureSource(checkpoint=features.digest, split=split, rows=selection)
    if split is None:
        return spectra_pb2.FeatureSource(feature_set=feature_set_name(features), rows=selection)
    if isinstance(features, FeatureSet):
        raise invalid(f"split= belongs to a checkpoint; {features!r} is the feature set of one split already")
    return spectra_pb2.FeatureSource(checkpoint=feature_set_name(features), split=split, rows=selection)


def row_selection(rows: RowsLike) -> spectra_pb2.RowSelection:
    """Some rows of a feature set. Raises `InvalidRequest` unless they are a run or whole numbers from 0."""
    if isinstance(rows, Run):
        return spectra_pb2.RowSelection(run=rows.id)
    ids = np.asarray(rows)
    if ids.ndim != 1 or not ids.size or ids.dtype.kind not in "iu" or int(ids.min()) < 0:
        raise invalid(f"rows takes a Run, or row ids: (n,) whole numbers from 0, at least one; got {rows!r}")
    return spectra_pb2.RowSelection(row_ids=arrays.encode(ids.astype(np.uint64)))


def spectra_request(
    features: SourceLike | None,
    *,
    split: str | None = None,
    by: By = "group",
    top_k: int | None = None,
    correction: int = 0,
    center: bool = True,
    replicates: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
    rows: RowsLike | None = None,
) -> spectra_pb2.ComputeSpectraRequest:
    """A question for spectra; of no feature set in particular without `features`. Raises `InvalidRequest`."""
    check_choice("by", by, SPECTRA_BY)
    if top_k is not None:
        check_number("top_k", top_k, 1, 2**31 - 1)
    check_correction(correction)
    check_number("replicates", replicates, 0, 2**31 - 1)
    if not 0 < confidence < 1:
        raise invalid(f"confidence must lie between 0 and 1, such as 0.95; got {confidence!r}", argument="confidence")
    check_seed(seed)
    return spectra_pb2.ComputeSpectraRequest(
        source=_rows_alone(rows) if features is None else feature_source(features, split, rows),
        by=SPECTRA_BY[by],
        top_k=top_k,
        correction=correction,
        center=center,
        replicates=replicates,
        confidence=confidence,
        seed=seed,
    )


def run_spectra_request(
    run: Run | str, split: str, spectra: spectra_pb2.ComputeSpectraRequest
) -> spectra_pb2.ComputeRunSpectraRequest:
    """The question `spectra` asked of every checkpoint of a run. Raises `InvalidRequest`."""
    if not split:
        raise invalid("split= says which features of every checkpoint, such as split='train'")
    return spectra_pb2.ComputeRunSpectraRequest(run=_run_id(run), split=split, spectra=spectra)


def descriptors_request(
    features: SourceLike, *, split: str | None, by: By, rows: RowsLike | None, power_law: tuple[int, int]
) -> spectra_pb2.ComputeDescriptorsRequest:
    """A question for descriptors. Raises `InvalidRequest`."""
    check_choice("by", by, SPECTRA_BY)
    first, last = power_law
    if not 1 <= first < last < 2**31:
        raise invalid(f"power_law= takes the first and the last rank of the fit, from 1; got {power_law!r}")
    return spectra_pb2.ComputeDescriptorsRequest(
        source=feature_source(features, split, rows),
        by=SPECTRA_BY[by],
        power_law_first=first,
        power_law_last=last,
    )


def angles_request(
    first: SourceLike,
    second: SourceLike,
    *,
    groups: tuple[str | int, str | int],
    split: str | None,
    by: By,
    top_k: int,
    rows: RowsLike | None,
) -> spectra_pb2.ComputePrincipalAnglesRequest:
    """A question for angles. Raises `InvalidRequest`."""
    check_choice("by", by, SPECTRA_BY)
    check_number("top_k", top_k, 1, 2**31 - 1)
    sides = [
        spectra_pb2.Subspace(source=feature_source(features, split, rows), by=SPECTRA_BY[by], part=str(group))
        for features, group in zip((first, second), groups, strict=True)
    ]
    return spectra_pb2.ComputePrincipalAnglesRequest(first=sides[0], second=sides[1], top_k=top_k)


def eigenvectors_request(
    features: SourceLike,
    *,
    split: str | None,
    by: By,
    top_k: int,
    correction: int,
    center: bool,
    rows: RowsLike | None,
) -> spectra_pb2.ReadEigenvectorsRequest:
    """A question for eigenvectors. Raises `InvalidRequest`."""
    check_choice("by", by, SPECTRA_BY)
    check_number("top_k", top_k, 1, 2**31 - 1)
    check_correction(correction)
    return spectra_pb2.ReadEigenvectorsRequest(
        source=feature_source(features, split, rows),
        by=SPECTRA_BY[by],
        top_k=top_k,
        correction=correction,
        center=center,
    )


def check_correction(correction: int) -> None:
    """Raise `InvalidRequest` unless it is 0 or 1."""
    if correction not in (0, 1):
        raise invalid(f"correction must be 0 (divisor n) or 1 (divisor n - 1); got {correction!r}")


def _rows_alone(rows: RowsLike | None) -> spectra_pb2.FeatureSource:
    return spectra_pb2.FeatureSource(rows=None if rows is None else row_selection(rows))


def _run_id(run: Run | str) -> str:
    return run.id if isinstance(run, Run) else run
