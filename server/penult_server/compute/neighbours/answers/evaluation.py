"""Metrics of k-nearest-neighbour classification, for several k from one graph."""

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.problem import Head
from penult_kernels.metrics.accuracy import group_metrics
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_kernels.neighbours.votes import logits_of_shares, vote_shares
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.neighbours.answers.labelled import (
    Labelled,
    bare,
    classes_as,
    labelled,
    match_labels,
    neighbours_of,
    of_neighbours,
)
from penult_server.compute.neighbours.sides import Resources
from penult_server.messages import metrics_to_proto
from penult_server.notes import notes_to_proto


def evaluate_neighbours(request: pb.EvaluateNeighboursRequest, resources: Resources) -> pb.NeighbourMetrics:
    """Metrics of the classes that the neighbours of each row vote for. Every field of the request is set by now.

    Raises ServiceError: OTHER_CLASSES, and what the search raises.
    """
    asked = labelled(resources.root, request.source)
    is_own = not request.HasField("among")
    voters = asked if is_own else labelled(resources.root, request.among)
    match = match_labels(voters, asked)
    query = pb.NeighbourQuery(
        source=bare(request.source),
        k=max(request.k),
        metric=pb.NEIGHBOUR_METRIC_COSINE,
        across_checkpoints=request.across_checkpoints,
    )
    if not is_own:
        query.among.CopyFrom(bare(request.among))
    found = neighbours_of(query, asked, voters, resources)
    classes = of_neighbours(classes_as(voters, match), found.position)
    weights = _balancing(voters)[found.position] if request.balanced else None
    notes = [*match.notes, *found.notes, *asked.notes, *(voters.notes if request.balanced and not is_own else ())]
    by_k = [
        pb.MetricsOfK(k=k, metrics=metrics_of_labelled(logits_of_shares(shares), asked, asked.g >= 0))
        for k, shares in vote_shares(
            classes, found.distance, asked.n_classes, request.k, temperature=request.temperature, weights=weights
        )
    ]
    return pb.NeighbourMetrics(
        feature_set=request.source.feature_set,
        among=voters.manifest.digest,
        temperature=request.temperature,
        balanced=request.balanced,
        by_k=by_k,
        notes=notes_to_proto(notes),
        balanced_by=voters.used_grouping if request.balanced else None,
    )


def _balancing(voters: Labelled) -> NDArray[np.float64]:
    """(M,) one over the rows of each voter's group; 0 for those in none."""
    of_group = 1.0 / np.maximum(voters.group_counts, 1)
    return np.where(voters.g >= 0, of_group[voters.g], 0.0)


def stored_logits(rows: Labelled, resources: Resources) -> NDArray[np.float64] | None:
    """(N, C) logits stored with a set, or those of the head that is; None where it has neither."""
    manifest = rows.manifest
    if manifest.n_logits == rows.n_classes:
        return rows.stored.read("logits").astype(np.float64)
    if not manifest.has_head:
        return None
    weight, bias = (rows.stored.read(name).astype(np.float64) for name in ("head_weight", "head_bias"))
    if len(weight) != rows.n_classes:
        return None
    resident = resources.residents.get(manifest.digest, resources.check, resources.progress)
    (logits,) = logits_of_heads(resident.features, [Head(weight=weight, bias=bias)])
    return resources.backend.to_host(logits)


def metrics_of_labelled(logits: NDArray[np.float64], asked: Labelled, is_used: NDArray[np.bool_]) -> groups_pb2.Metrics:
    """Metrics of logits (N, C) over some of the rows, all of which are in a group."""
    labels, shares = asked.manifest.labels, asked.manifest.train_shares
    metrics = group_metrics(
        logits[is_used],
        asked.y[is_used],
        asked.g[is_used],
        labels.n_groups,
        average_weights=np.asarray(shares) if shares else None,
        masks=asked.stored.read("masks")[is_used].T if labels.masks else None,
    )
    return metrics_to_proto(metrics, labels, asked.used_grouping)
