"""Influence of the rows of a stored refit: its draws solved again to their optima, rows removed by one Newton step."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.influence.curvature import FlatError
from penult_kernels.diagnostics.influence.removal import Influence, influence
from penult_kernels.diagnostics.influence.singles import head_moves, most_rows
from penult_kernels.diagnostics.influence.targets import mean_changes, mean_gradients
from penult_proto.errors import ErrorKind
from penult_proto.v1 import influence_pb2 as pb
from penult_server.compute.diagnostics.refitted import Refitted, refitted
from penult_server.compute.diagnostics.removals import counterfactual, verified
from penult_server.compute.diagnostics.scored_rows import ScoredRows, scored_rows
from penult_server.compute.memory import available_bytes, require
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.spectra.parts import Resources
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto, groups_to_proto
from penult_server.notes import notes_to_proto

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MOST_BYTES = 48 * 2**20
"""Arrays of an answer at most: messages hold 64 MiB."""
EXACT_MULTIPLICATIONS = 1e10
"""Multiplications for removing rows one by one, a second about: all of a few hundred rows, some dozens of 20,000."""
EXACT_SOLVES = 64
"""Problems with an l1 that are solved again for single rows."""
TILE_BYTES = 2**28
"""Tiles of rows and their products, about."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Own:
    """What removing each row does to its own prediction."""

    loss: Floats
    """(n,) change of the row's loss, nats."""
    memorised: Floats
    """(n,) p of its label, less that without it."""


def compute_influence(request: pb.InfluenceRequest, material: RefitMaterial, resources: Resources) -> pb.Influence:
    """Every row's influence, and the refit without the rows that harm one group most. Every field is set by now.

    Raises ServiceError: INVALID_ARGUMENT where the refit has no Newton step, EMPTY_GROUP, OTHER_CLASSES,
    OTHER_CHECKPOINT, OUT_OF_MEMORY, and what reading raises.
    """
    on = scored_rows(request, material, resources)
    _check_sizes(request, on, material, resources)
    fitted = refitted(request.fitted, material, resources)
    logits = on.logits(fitted.head)
    found = _influence(fitted, on, logits, resources)
    accuracy = on.accuracies(logits)
    target = _target(request.target, accuracy, on)
    found, is_exact = _with_exact(found, fitted, on, logits, _by_size(found, target, request.top_k))
    own = _own(found, fitted)
    removal = counterfactual(request, found, fitted, on, target) if request.top_k else None
    singles = verified(request, found, fitted, on) if request.verify else None
    labels = fitted.labels
    return pb.Influence(
        refit=request.refit,
        feature_set=request.source.feature_set,
        fitted_feature_set=fitted.digest,
        by=request.by,
        groups=on.groups,
        fitted_groups=groups_to_proto(
            labels.manifest.labels,
            np.bincount(labels.g[found.rows], minlength=labels.manifest.labels.n_groups).tolist(),
        ),
        row_ids=array_to_proto(fitted.row_ids[found.rows]),
        fitted_group=array_to_proto(labels.g[found.rows].astype(np.int64)),
        n_draws=array_to_proto(found.n_problems),
        change=array_to_proto(found.change),
        own_change=array_to_proto(own.loss),
        memorised=array_to_proto(own.memorised),
        leverage=array_to_proto(found.leverage),
        is_exact=array_to_proto(is_exact),
        loss=array_to_proto(on.losses(logits)),
        accuracy=array_to_proto(accuracy),
        repeats=len(fitted.problems),
        counterfactual=removal,
        verified_row_ids=None if singles is None else array_to_proto(fitted.row_ids[singles[0]]),
        verified_change=None if singles is None else array_to_proto(singles[1]),
        seed=request.seed,
        grouping=on.used_grouping,
        notes=notes_to_proto([*on.notes, *fitted.notes]),
    )


def _influence(fitted: Refitted, on: ScoredRows, logits: Floats, resources: Resources) -> Influence:
    """Influences; NaN on a part without rows."""
    gradients = mean_gradients(on.rows, logits, on.y, on.part, on.n_parts)
    is_empty = np.isnan(gradients[:, 0, 0])
    gradients[is_empty] = 0.0
    try:
        found = influence(
            fitted.fitted,
            gradients,
            report=resources.progress.stage("removing rows", "draws"),
        )
    except FlatError as error:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"the influence of this refit is not defined: {error}", field="refit"
        ) from error
    found.change[:, is_empty] = np.nan
    return found


def _by_size(found: Influence, target: int, top_k: int) -> Integers:
    """Places of the rows: those that harm the target most, then those that change the loss of any part most."""
    order = np.argsort(-np.nanmax(np.abs(found.change), axis=1), kind="stable")
    harmful = np.argsort(found.change[:, target], kind="stable")[:top_k]
    both = np.concatenate([harmful, order])
    return both[np.sort(np.unique(both, return_index=True)[1])]


def _with_exact(
    found: Influence, fitted: Refitted, on: ScoredRows, logits: Floats, order: Integers
) -> tuple[Influence, NDArray[np.bool_]]:
    """The same with what the first rows of an order really change, as many as are quick; and which (n,) these are."""
    chosen = np.sort(order[: most_rows(fitted.fitted, EXACT_MULTIPLICATIONS, EXACT_SOLVES)])
    change, own, is_exact = found.change.copy(), found.own_change.copy(), np.zeros(found.rows.size, np.bool_)
    for batch, moves in head_moves(fitted.fitted, found.rows[chosen], fitted.solved):
        places = chosen[batch]
        real = mean_changes(on.rows, logits, on.y, on.part, on.n_parts, moves.weight, moves.bias)
        solved = moves.is_solved
        change[places[solved]] = real[solved]
        own[places[solved]] = moves.own(fitted.features, found.rows[places])[solved]
        is_exact[places[solved]] = True
    return replace(found, change=change, own_change=own), is_exact


def _own(found: Influence, fitted: Refitted) -> Own:
    logits = fitted.logits()[found.rows]
    y = fitted.labels.y[found.rows]
    place = np.arange(y.size)
    before, after = (_log_softmax(one)[place, y] for one in (logits, logits + found.own_change))
    return Own(loss=before - after, memorised=np.exp(before) - np.exp(after))


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _target(name: str, accuracy: Floats, on: ScoredRows) -> int:
    """The group that the counterfactual is about: the worst, unless one is named that has rows."""
    if not name:
        return int(np.nanargmin(accuracy))
    found = {one.name: one.index for one in on.groups if one.count}
    if name not in found:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"target must name a group that has rows, one of {', '.join(map(repr, found))}; got {name!r}",
            field="target",
        )
    return found[name]


def _check_sizes(request: pb.InfluenceRequest, on: ScoredRows, material: RefitMaterial, resources: Resources) -> None:
    """Raise ServiceError (INVALID_ARGUMENT, OUT_OF_MEMORY) for what would not fit in an answer, or in memory."""
    manifest = material.manifest(request.fitted.request.feature_set)
    if not material.fits(manifest.digest):
        raise ServiceError(
            ErrorKind.OUT_OF_MEMORY,
            f"influence reads the {manifest.n_examples:,} rows of feature set {manifest.digest[:12]} several times, "
            "which do not fit in memory: refit a smaller set, or start the server with a larger --resident-bytes",
        )
    needed = 8 * manifest.n_examples * (on.n_parts + 7)
    if needed > MOST_BYTES:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"influences of {manifest.n_examples:,} rows on {on.n_parts} groups take {needed >> 20} MiB, at most "
            f"{MOST_BYTES >> 20} fit in an answer: ask by='class' or by='all', or of a refit of fewer rows",
            field="by",
        )
    unknowns = min(len(manifest.labels.classes), 8192) * (manifest.n_features + 1)
    hessian = 8 * min(unknowns, 8192) ** 2
    gradients = 16 * on.n_parts * len(manifest.labels.classes) * (manifest.n_features + 1)
    require(
        4 * hessian + gradients + TILE_BYTES,
        available_bytes(resources.backend),
        "use a refit of features of fewer columns, or ask by='all'",
    )
