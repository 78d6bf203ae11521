"""Metrics of heads on resident features: one head, or the mixtures of several."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like
from penult_kernels.metrics.accuracy import group_metrics
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import NamedHead, Rules
from penult_server.compute.refits.panels import Asked, add_panels, check_disjoint
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.grouped import Grouped
from penult_server.compute.rows.resident import Labelled
from penult_server.errors import ServiceError
from penult_server.messages import array_from_proto, metrics_to_proto
from penult_server.notes import notes_to_proto
from penult_server.records import LabelNames
from penult_server.stores.manifest import FeatureManifest

MOST_MIXTURES = 1000


def average_weights(
    scored: FeatureManifest, train: FeatureManifest | None, grouped: Grouped | None = None
) -> NDArray[np.float64] | None:
    """(G,) weights of a set's weighted average: the group counts of `train`, matched by the names of the groups;
    without `train`, the training shares stored with the set, or None if it has none.

    A grouping may be called otherwise than the attribute whose values it has. Raises ServiceError (INVALID_ARGUMENT)
    when `train` has groups of other names.
    """
    if train is None:
        return np.asarray(scored.train_shares) if scored.train_shares else None
    own, other = scored.labels, train.labels
    named = dict(zip(_group_names(other), train.group_counts, strict=True))
    is_other = set(_group_names(own)) != set(named)
    if is_other and grouped is not None:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"train= weighs groups by their names, and those of {grouped.called} are others than feature set "
            f"{train.digest[:12]} has, {_described(other)}: leave train= out",
            argument="train",
        )
    if grouped is None and (is_other or own.attribute != other.attribute):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"train= must have the classes and the attribute of what is scored, to weigh its groups: feature set "
            f"{train.digest[:12]} has {_described(other)}; {scored.digest[:12]} has {_described(own)}. Upload both "
            "with the same classes=, attribute= and attribute_values=",
            argument="train",
        )
    return np.asarray([named[name] for name in _group_names(own)], dtype=np.float64)


def _group_names(labels: LabelNames) -> list[tuple[str, str]]:
    """(class, attribute value) of every group, by its index."""
    return [(name, value) for name in labels.classes for value in labels.attribute_values or ("",)]


def _described(labels: LabelNames) -> str:
    attribute = f"{labels.attribute} of {list(labels.attribute_values)}" if labels.attribute_values else "no attribute"
    return f"classes {list(labels.classes)} and {attribute}"


def metrics_of(
    logits: Any, labels: Labelled, train: FeatureManifest | None = None, grouped: Grouped | None = None
) -> groups_pb2.Metrics:
    """Metrics of logits (N, C), on the device, for a set; with a grouping, of the rows that are in a group.

    Raises ServiceError (NOT_FINITE) where they overflow, and what `average_weights` does.
    """
    manifest = labels.manifest
    xp = array_namespace(logits)
    if not bool(xp.all(xp.isfinite(logits))):
        raise ServiceError(
            ErrorKind.NOT_FINITE,
            f"the head's logits overflow on feature set {manifest.digest[:12]}, so that it predicts nothing; scale the "
            "head or the features down",
            feature_set=manifest.digest,
        )
    y, g, masks = labels.y, labels.g, labels.masks
    if grouped is not None:
        manifest, g = grouped.manifest, grouped.groups(y)
        if (kept := grouped.kept) is not None:
            logits = xp.take(logits, asarray_like(kept, logits), axis=0)
            y, g, masks = y[kept], g[kept], masks[kept]
    metrics = group_metrics(
        logits,
        y,
        g,
        manifest.labels.n_groups,
        average_weights=average_weights(manifest, train, grouped),
        masks=masks.T if masks.shape[1] else None,
    )
    found = metrics_to_proto(metrics, manifest.labels, None if grouped is None else grouped.to_proto())
    if grouped is not None:
        found.notes.extend(notes_to_proto(grouped.left_out()))
    return found


def evaluate(
    request: pb.EvaluateRequest, material: RefitMaterial, check: Callable[[], None], progress: Reporter = SILENT
) -> groups_pb2.Metrics:
    """Score a given head, or a checkpoint's own; the classes of the answer are in the order of the feature set's.

    Raises ServiceError: WRONG_SHAPE, NOT_FINITE, OTHER_CLASSES, OTHER_CHECKPOINT and what loading raises.
    """
    head = material.given_head(request)
    match = _rules(request, material).head(head, material.manifest(request.feature_set))
    logits = material.reporting(progress).logits_of(request.feature_set, [head.head], check)[0]
    labels = material.labels(request.feature_set)
    train = material.manifest(request.train) if request.train else None
    grouped = _grouped(request, material)
    metrics = metrics_of(match.columns(logits), labels, train, grouped)
    metrics.notes.extend(notes_to_proto(match.notes))
    if request.panels:
        asked = Asked(logits=match.columns(logits), labels=labels, grouped=grouped)
        held = _calibration(request, head, material, check) if request.calibration else None
        add_panels(metrics, list(request.panels), asked, held)
    return metrics


def _calibration(
    request: pb.EvaluateRequest, head: NamedHead, material: RefitMaterial, check: Callable[[], None]
) -> Asked:
    """The rows on which thresholds are found, under the same head. Raises ServiceError (INVALID_ARGUMENT)."""
    scored, held = material.manifest(request.feature_set), material.manifest(request.calibration)
    check_disjoint(scored, held, material.row_ids(scored.digest), material.row_ids(held.digest))
    match = _rules(request, material).head(head, held)
    logits = material.logits_of(held.digest, [head.head], check)[0]
    return Asked(logits=match.columns(logits), labels=material.labels(held.digest))


def evaluate_mixtures(
    request: pb.EvaluateMixturesRequest,
    material: RefitMaterial,
    check: Callable[[], None],
    progress: Reporter = SILENT,
) -> pb.EvaluateMixturesResponse:
    """Score mixtures of heads: every head is multiplied once, mixtures are sums of its logits.

    Raises ServiceError: WRONG_SHAPE, NOT_FINITE, INVALID_ARGUMENT, OTHER_CLASSES, OTHER_CHECKPOINT and what loading
    raises.
    """
    heads = [material.given_head(one) for one in request.heads]
    shares = array_from_proto(request.shares, "shares").astype(np.float64)
    if shares.ndim != 2 or shares.shape[1] != len(heads) or not 1 <= len(shares) <= MOST_MIXTURES:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"shares must be (M, {len(heads)}), one row per mixture of the {len(heads)} heads, with at most "
            f"{MOST_MIXTURES} rows; got {shares.shape}",
        )
    if not np.isfinite(shares).all():
        raise ServiceError(ErrorKind.NOT_FINITE, "shares holds NaN or infinity", array="shares")
    manifest = material.manifest(request.feature_set)
    matches = [
        rules.head(head, manifest) for rules, head in zip(_rules_of_each(request, heads, material), heads, strict=True)
    ]
    logits = material.reporting(progress).logits_of(request.feature_set, [head.head for head in heads], check)
    labels = material.labels(request.feature_set)
    ordered = [match.columns(own) for match, own in zip(matches, logits, strict=True)]
    train = material.manifest(request.train) if request.train else None
    grouped = _grouped(request, material)
    metrics: list[groups_pb2.Metrics] = []
    add = progress.each("scoring", "mixtures", len(shares))
    for mixture in shares:
        check()
        mixed = sum(float(share) * own for share, own in zip(mixture, ordered, strict=True))
        metrics.append(metrics_of(mixed, labels, train, grouped))
        add(1)
    notes = [note for match in matches for note in match.notes]
    return pb.EvaluateMixturesResponse(metrics=metrics, notes=notes_to_proto(notes))


def _rules_of_each(
    request: pb.EvaluateMixturesRequest, heads: Sequence[NamedHead], material: RefitMaterial
) -> list[Rules]:
    """Rules for each head with the part of the class map that names its classes; a name that no head has is refused."""
    rules = _rules(request, material)
    known = {name for head in heads for name in head.classes.names}
    if set(rules.class_map) - known:
        return [rules for _ in heads]
    return [
        replace(
            rules, class_map={name: rules.class_map[name] for name in head.classes.names if name in rules.class_map}
        )
        for head in heads
    ]


def _grouped(request: pb.EvaluateRequest | pb.EvaluateMixturesRequest, material: RefitMaterial) -> Grouped | None:
    return material.grouped(request.feature_set, request.grouping) if request.grouping else None


def _rules(request: pb.EvaluateRequest | pb.EvaluateMixturesRequest, material: RefitMaterial) -> Rules:
    return Rules(
        is_same_model=material.is_same_model,
        across_checkpoints=request.across_checkpoints,
        class_map=dict(request.class_map),
    )
