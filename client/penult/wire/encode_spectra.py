"""Questions about spectra as messages of the wire; what is plainly wrong is refused here."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

from penult.arguments import coerce, coerce_arrays
from penult.arguments.coerce import build
from penult.errors import invalid, shown
from penult.results.records import Checkpoint, FeatureSet, Run
from penult.types import SpectraWeights
from penult.wire import arrays
from penult.wire.references import ByLike, FeatureSetLike, checkpoint_digest, feature_set_name, grouped_by, run_id
from penult_proto.v1 import spectra_pb2

SourceLike: TypeAlias = FeatureSetLike | Checkpoint
"""A feature set; or a checkpoint (a record, or with ``split=`` its digest), meaning its features of that split."""
RowsLike: TypeAlias = NDArray[Any] | Sequence[int] | Run | str
"""Row ids; or a run, its id, the start of one or its name, meaning the training examples that its balancing kept."""


def feature_source(
    features: SourceLike,
    split: str | None,
    rows: RowsLike | None,
    argument: str = "features",
    *,
    grouping: str = "",
) -> spectra_pb2.FeatureSource:
    """What a query looks at; `grouping` is the name of one, empty for the stored groups. Raises `InvalidRequest`."""
    selection = None if rows is None else row_selection(rows)
    of_split = coerce.optional_text("split", split)
    if isinstance(features, Checkpoint) and not of_split:
        raise invalid(f"{features!r} has features of several splits; say which, such as split='train'")
    if split is None:
        named = feature_set_name(features, argument)  # pyright: ignore[reportArgumentType]
        return build(spectra_pb2.FeatureSource, feature_set=named, rows=selection, grouping=grouping)
    if isinstance(features, FeatureSet):
        raise invalid(f"split= belongs to a checkpoint; {features!r} is the feature set of one split already")
    digest = checkpoint_digest(features, argument)
    return build(spectra_pb2.FeatureSource, checkpoint=digest, split=of_split, rows=selection, grouping=grouping)


def row_selection(rows: RowsLike) -> spectra_pb2.RowSelection:
    """Some rows of a feature set. Raises `InvalidRequest` unless they are a run or whole numbers from 0."""
    if isinstance(rows, Run | str):
        return build(spectra_pb2.RowSelection, run=run_id(rows, "rows"))
    return build(spectra_pb2.RowSelection, row_ids=arrays.encode(coerce_arrays.row_ids(rows)))


def spectra_request(
    features: SourceLike | None,
    *,
    split: str | None = None,
    by: ByLike = "group",
    top_k: int | None = None,
    correction: int = 0,
    center: bool = True,
    replicates: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    rows: RowsLike | None = None,
    weights: SpectraWeights | None = None,
    gamma: float | None = None,
) -> spectra_pb2.ComputeSpectraRequest:
    """A question for spectra; of no feature set in particular without `features`. Raises `InvalidRequest`."""
    over, grouping = grouped_by(by, spectra_pb2.SpectraBy)
    level = coerce.number("confidence", confidence)
    if not 0 < level < 1:
        raise invalid(f"confidence must lie between 0 and 1, such as 0.95; got {level!r}", argument="confidence")
    return build(
        spectra_pb2.ComputeSpectraRequest,
        source=_rows_alone(rows, grouping)
        if features is None
        else feature_source(features, split, rows, grouping=grouping),
        by=over,
        top_k=None if top_k is None else coerce.whole("top_k", top_k),
        correction=_correction(correction),
        center=coerce.flag("center", center),
        replicates=None if replicates is None else coerce.whole("replicates", replicates, 0),
        confidence=level,
        seed=coerce.seed(seed),
        weights=coerce.choice("weights", "uniform" if weights is None else weights, spectra_pb2.SpectraWeights),
        gamma=None if gamma is None else coerce.number("gamma", gamma),
    )


def run_spectra_request(
    run: Run | str, split: str, spectra: spectra_pb2.ComputeSpectraRequest
) -> spectra_pb2.ComputeRunSpectraRequest:
    """The question `spectra` asked of every checkpoint of a run. Raises `InvalidRequest`."""
    of_split = coerce.text("split", split, example="'train'")
    if not of_split:
        raise invalid("split= says which features of every checkpoint, such as split='train'")
    return build(spectra_pb2.ComputeRunSpectraRequest, run=run_id(run), split=of_split, spectra=spectra)


def descriptors_request(
    features: SourceLike, *, split: str | None, by: ByLike, rows: RowsLike | None, power_law: tuple[int, int]
) -> spectra_pb2.ComputeDescriptorsRequest:
    """A question for descriptors. Raises `InvalidRequest`."""
    over, grouping = grouped_by(by, spectra_pb2.SpectraBy)
    ranks = [coerce.whole("power_law", one) for one in coerce.listed("power_law", power_law, "(11, 50)")]
    if len(ranks) != 2 or ranks[0] >= ranks[1]:
        raise invalid(f"power_law= takes the first and the last rank of the fit, from 1; got {shown(power_law)}")
    first, last = ranks
    return build(
        spectra_pb2.ComputeDescriptorsRequest,
        source=feature_source(features, split, rows, grouping=grouping),
        by=over,
        power_law_first=first,
        power_law_last=last,
    )


def angles_request(
    first: SourceLike,
    second: SourceLike,
    *,
    groups: tuple[str | int, str | int],
    split: str | None,
    by: ByLike,
    top_k: int,
    rows: RowsLike | None,
) -> spectra_pb2.ComputePrincipalAnglesRequest:
    """A question for angles. Raises `InvalidRequest`."""
    over, grouping = grouped_by(by, spectra_pb2.SpectraBy)
    parts = [_part(group) for group in coerce.listed("groups", groups, "('cat, indoors', 1)")]
    if len(parts) != 2:
        raise invalid(f"groups= takes two, one of each set, such as ('cat, indoors', 1); got {shown(groups)}")
    sides = [
        build(
            spectra_pb2.Subspace,
            source=feature_source(features, split, rows, name, grouping=grouping),
            by=over,
            part=part,
        )
        for name, features, part in zip(("first", "second"), (first, second), parts, strict=True)
    ]
    count = coerce.whole("top_k", top_k)
    return build(spectra_pb2.ComputePrincipalAnglesRequest, first=sides[0], second=sides[1], top_k=count)


def _part(group: str | int) -> str:
    """A group by its name or its index."""
    if isinstance(group, str):
        return coerce.text("groups", group)
    return str(coerce.whole("groups", group, 0))


def eigenvectors_request(
    features: SourceLike,
    *,
    split: str | None,
    by: ByLike,
    top_k: int,
    correction: int,
    center: bool,
    rows: RowsLike | None,
) -> spectra_pb2.ReadEigenvectorsRequest:
    """A question for eigenvectors. Raises `InvalidRequest`."""
    over, grouping = grouped_by(by, spectra_pb2.SpectraBy)
    return build(
        spectra_pb2.ReadEigenvectorsRequest,
        source=feature_source(features, split, rows, grouping=grouping),
        by=over,
        top_k=coerce.whole("top_k", top_k),
        correction=_correction(correction),
        center=coerce.flag("center", center),
    )


def _correction(value: int) -> int:
    correction = coerce.whole("correction", value, -coerce.INT32)
    if correction not in (0, 1):
        raise invalid(f"correction must be 0 (divisor n) or 1 (divisor n - 1); got {correction!r}")
    return correction


def _rows_alone(rows: RowsLike | None, grouping: str) -> spectra_pb2.FeatureSource:
    return build(spectra_pb2.FeatureSource, rows=None if rows is None else row_selection(rows), grouping=grouping)
