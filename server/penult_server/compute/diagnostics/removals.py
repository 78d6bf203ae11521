"""Real refits without rows: without those that harm a group most, and without single ones."""

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.influence.removal import Influence
from penult_kernels.diagnostics.influence.without import without
from penult_kernels.linear.problem import Head, Problem
from penult_kernels.linear.solve import Fit
from penult_kernels.sampling.balancing import EmptyLabelError
from penult_proto.errors import ErrorKind
from penult_proto.v1 import influence_pb2 as pb
from penult_server.compute.diagnostics.refitted import Refitted, mean_head
from penult_server.compute.diagnostics.scored_rows import ScoredRows
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def counterfactual(
    request: pb.InfluenceRequest, found: Influence, fitted: Refitted, on: ScoredRows, target: int
) -> pb.Counterfactual | None:
    """The refit without the rows whose removal lowers the target's loss most; None where no row harms it.

    Raises ServiceError (INVALID_ARGUMENT) where nothing, or no row of a class, would be left.
    """
    towards = found.change[:, target]
    order = np.argsort(towards, kind="stable")[: request.top_k]
    places = order[towards[order] < 0]
    if not places.size:
        return None
    removed = found.rows[places]
    heads = _without(fitted, np.sort(removed), range(len(fitted.problems)))
    before, after = on.logits(fitted.head), on.logits(mean_head(heads))
    return pb.Counterfactual(
        target=target,
        row_ids=array_to_proto(fitted.row_ids[removed]),
        predicted=array_to_proto(found.change[places].sum(axis=0)),
        change=array_to_proto(on.losses(after) - on.losses(before)),
        accuracy_before=array_to_proto(on.accuracies(before)),
        accuracy_after=array_to_proto(on.accuracies(after)),
        converged=all(one.certificate.converged for one in heads),
    )


def verified(
    request: pb.InfluenceRequest, found: Influence, fitted: Refitted, on: ScoredRows
) -> tuple[Integers, Floats]:
    """Positions (v,) of rows drawn by the seed, and changes (v, T) of the losses by real refits without each."""
    rng = np.random.default_rng([request.seed, 21])
    rows = np.sort(rng.choice(found.rows, min(request.verify, found.rows.size), replace=False))
    used = [fitted.fitted.weighed(place) for place in range(len(fitted.problems))]
    using = [[place for place, own in enumerate(used) if np.isin(row, own)] for row in rows.tolist()]
    problems = [
        problem
        for row, places in zip(rows.tolist(), using, strict=True)
        for problem in _problems(fitted, np.asarray([row], dtype=np.int64), places, "verify")
    ]
    heads = iter(_solved(fitted, problems, "verify"))
    base, changes = on.losses(on.logits(fitted.head)), list[Floats]()
    for places in using:
        all_heads: list[Head] = list(fitted.optima)
        for place in places:
            all_heads[place] = next(heads)
        changes.append(on.losses(on.logits(mean_head(all_heads))) - base)
    return rows, np.stack(changes)


def _without(fitted: Refitted, removed: Integers, places: range) -> list[Fit]:
    return _solved(fitted, _problems(fitted, removed, list(places), "top_k"), "top_k")


def _solved(fitted: Refitted, problems: list[Problem], argument: str) -> list[Fit]:
    """Raises ServiceError (INVALID_ARGUMENT), naming the argument that takes rows out, where a class has none left."""
    try:
        return fitted.solved(problems)
    except EmptyLabelError as error:
        name = fitted.labels.manifest.labels.classes[error.label]
        mend = "leave out fewer" if argument == "top_k" else "ask for 0, or for rows of another seed"
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{argument}: without what is left out no row of class {name!r} is left in some draw: {mend}",
            field=argument,
        ) from error


def _problems(fitted: Refitted, removed: Integers, places: list[int], argument: str) -> list[Problem]:
    try:
        return without(fitted.fitted, removed, places)
    except ValueError as error:
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{argument}: {error}", field=argument) from error
