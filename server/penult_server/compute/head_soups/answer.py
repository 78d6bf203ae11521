"""One soup of several heads on a set: the request decoded, the kernels called, the answer encoded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like, blocks, to_host
from penult_kernels.linear.solve import Head
from penult_kernels.weight_space.greedy import greedy_steps
from penult_kernels.weight_space.head_soups import (
    MOST_SHAPLEY,
    SoupScores,
    fisher_of_head,
    learned_mixture,
    moments_soup,
    score_soups,
    shapley_values,
)
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.memory import available_bytes, require
from penult_server.compute.refits.evaluation import metrics_of
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import Rules, head_to_proto
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.resident import Labelled
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto
from penult_server.notes import notes_to_proto

ROWS_AT_ONCE = 4096
MOST_LOGITS_BYTES = 2 * 2**30
"""Most memory for the logits of all heads."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """Heads with their classes in the order of the set, their logits, and whose they are."""

    request: pb.SoupHeadsRequest
    heads: Sequence[Head]
    logits: Any
    """(H, N, C) float64 on the device."""
    labels: Labelled
    features: Callable[[], Any]
    """(N, D) on the device."""
    check: Callable[[], None]
    """Called between blocks of rows; may raise."""

    @property
    def n_groups(self) -> int:
        return len(self.labels.manifest.group_counts)

    def score(self, shares: NDArray[np.float64]) -> SoupScores:
        return score_soups(self.logits, shares, self.labels.y, self.labels.g, self.n_groups, self.check)


def soup_heads(
    request: pb.SoupHeadsRequest, material: RefitMaterial, check: Callable[[], None], progress: Reporter = SILENT
) -> pb.HeadSoup:
    """Raises ServiceError: WRONG_SHAPE, NOT_FINITE, INVALID_ARGUMENT, OTHER_CLASSES, OTHER_CHECKPOINT, TOO_LARGE,
    OUT_OF_MEMORY and what loading raises."""
    heads = [material.given_head(one) for one in request.heads]
    manifest = material.manifest(request.feature_set)
    rules = Rules(
        is_same_model=material.is_same_model,
        across_checkpoints=request.across_checkpoints,
        class_map=dict(request.class_map),
    )
    matches = [rules.head(head, manifest) for head in heads]
    ordered = [
        Head(weight=one.head.weight[match.order], bias=one.head.bias[match.order])
        for one, match in zip(heads, matches, strict=True)
    ]
    n_bytes = 8 * len(ordered) * manifest.n_examples * len(manifest.labels.classes)
    if n_bytes > MOST_LOGITS_BYTES:
        raise ServiceError(
            ErrorKind.TOO_LARGE,
            f"the logits of {len(ordered)} heads on the {manifest.n_examples} rows of set {manifest.digest[:12]} take "
            f"{n_bytes / 2**30:.1f} GiB, more than {MOST_LOGITS_BYTES / 2**30:.0f}; give fewer heads or rows",
            field="heads",
        )
    require(2 * n_bytes, available_bytes(material.backend), "give fewer heads, or a smaller set")
    logits = material.reporting(progress).logits_of(request.feature_set, ordered, check)
    xp = array_namespace(logits[0])
    stacked = xp.stack(list(logits))
    labels = material.labels(request.feature_set)
    for one in logits:
        metrics_of(one, labels)  # refuses logits that overflow
    asked = _Asked(
        request=request,
        heads=ordered,
        logits=stacked,
        labels=labels,
        features=lambda: material.resident(request.feature_set, check).features,
        check=check,
    )
    answer = pb.HeadSoup(rule=request.rule)
    head = _RULES[request.rule](asked, answer)
    answer.head.CopyFrom(head_to_proto(head, manifest))
    (own,) = material.logits_of(request.feature_set, [head], check)
    answer.metrics.CopyFrom(metrics_of(own, labels))
    _add_parts(asked, answer)
    answer.notes.extend(notes_to_proto([note for match in matches for note in match.notes]))
    return answer


def _mixed(asked: _Asked, shares: NDArray[np.float64], answer: pb.HeadSoup) -> Head:
    answer.shares.CopyFrom(array_to_proto(shares))
    return Head(
        weight=np.tensordot(shares, np.stack([one.weight for one in asked.heads]), axes=1),
        bias=shares @ np.stack([one.bias for one in asked.heads]),
    )


def _uniform(asked: _Asked, answer: pb.HeadSoup) -> Head:
    return _mixed(asked, np.full(len(asked.heads), 1 / len(asked.heads)), answer)


def _learned(asked: _Asked, answer: pb.HeadSoup) -> Head:
    """Each row counts alike, or each group that has any."""
    weight = np.ones(len(asked.labels.y))
    if asked.request.by_group:
        counts = np.bincount(asked.labels.g, minlength=asked.n_groups)
        weight = 1 / counts[asked.labels.g]
    found = learned_mixture(asked.logits, asked.labels.y, weight, check=asked.check)
    answer.loss, answer.gap, answer.converged = found.loss, found.gap, found.converged
    return _mixed(asked, found.shares, answer)


def _greedy(asked: _Asked, answer: pb.HeadSoup) -> Head:
    """By the accuracy of the worst group."""
    n_heads = len(asked.heads)

    def score(members: Sequence[int]) -> float:
        shares = np.zeros((1, n_heads))
        shares[0, list(members)] = 1 / len(members)
        return float(np.nanmin(asked.score(shares).accuracy))

    steps = greedy_steps(n_heads, score, margin=asked.request.margin)
    for one in steps:
        answer.steps.add(head=one.candidate, alone=one.alone, score=one.score, kept=one.kept)
    shares = np.zeros(n_heads)
    kept = [one.candidate for one in steps if one.kept]
    shares[kept] = 1 / len(kept)
    return _mixed(asked, shares, answer)


def _fisher(asked: _Asked, answer: pb.HeadSoup) -> Head:
    """Entry by entry, each head's information divided by its norm; where there is none the mean."""
    features = asked.features()
    above = np.zeros_like(_with_bias(asked.heads[0]))
    below = np.zeros_like(above)
    for head, logits in zip(asked.heads, asked.logits, strict=True):
        weight, bias = (to_host(one).astype(np.float64) for one in fisher_of_head(features, logits, asked.check))
        information = np.concatenate([weight, bias[:, None]], axis=1)
        norm = float(np.sqrt((information**2).sum()))
        information = information / norm if norm else information
        above += information * _with_bias(head)
        below += information
    mean = np.mean([_with_bias(one) for one in asked.heads], axis=0)
    decided = below > 1e-12 * below.mean()
    found: NDArray[np.float64] = np.where(decided, above / np.where(decided, below, 1.0), mean)
    return _without_bias(found)


def _moments(asked: _Asked, answer: pb.HeadSoup) -> Head:
    """Each head on the rows of a group of its own."""
    groups = list(asked.request.head_groups)
    if len(groups) != len(asked.heads) or not all(0 <= one < asked.n_groups for one in groups):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"groups must name one of the {asked.n_groups} groups of the set for each of the {len(asked.heads)} heads, "
            f"on whose rows it was fitted; got {groups[:20]}",
            field="groups",
        )
    grams = _grams(asked)
    for group in groups:
        if group not in grams:
            raise ServiceError(
                ErrorKind.EMPTY_GROUP, f"group {group} of feature set has no rows to weigh a head by", group=group
            )
    stacked = np.stack([grams[one] for one in groups])
    return _without_bias(moments_soup(np.stack([_with_bias(one) for one in asked.heads]), stacked))


def _grams(asked: _Asked) -> Mapping[int, NDArray[np.float64]]:
    """X^T X (D + 1, D + 1) of the rows of each group that has any, with a column of ones."""
    features = asked.features()
    xp = array_namespace(features)
    found: dict[int, NDArray[np.float64]] = {}
    for group in set(asked.request.head_groups) & set(asked.labels.g.tolist()):
        rows = np.flatnonzero(asked.labels.g == group)
        for block in blocks(len(rows), ROWS_AT_ONCE):
            asked.check()
            taken = xp.take(features, asarray_like(rows[block], features), axis=0)
            in_float64 = xp.astype(taken, xp.float64)
            in_float64 = xp.concat([in_float64, xp.ones_like(in_float64[:, :1])], axis=1)
            found[group] = found.get(group, 0.0) + to_host(xp.matmul(in_float64.T, in_float64))
    return found


def _with_bias(head: Head) -> NDArray[np.float64]:
    return np.concatenate([head.weight, head.bias[:, None]], axis=1)


def _without_bias(entries: NDArray[np.float64]) -> Head:
    return Head(weight=np.ascontiguousarray(entries[:, :-1]), bias=np.ascontiguousarray(entries[:, -1]))


def _add_parts(asked: _Asked, answer: pb.HeadSoup) -> None:
    """What each head does to the uniform soup of all, by group."""
    n_heads = len(asked.heads)
    every = np.full((1, n_heads), 1 / n_heads)
    if n_heads > 1:
        without = (1 - np.eye(n_heads)) / (n_heads - 1)
        found = asked.score(np.concatenate([every, without]))
        answer.leave_one_out_loss.CopyFrom(array_to_proto(found.loss[1:] - found.loss[0]))
        answer.leave_one_out_accuracy.CopyFrom(array_to_proto(found.accuracy[0] - found.accuracy[1:]))
    if n_heads <= MOST_SHAPLEY:
        answer.shapley.CopyFrom(array_to_proto(shapley_values(lambda one: -asked.score(one).loss, n_heads)))


_RULES: dict[int, Callable[[_Asked, pb.HeadSoup], Head]] = {
    pb.HEAD_SOUP_RULE_UNIFORM: _uniform,
    pb.HEAD_SOUP_RULE_LEARNED: _learned,
    pb.HEAD_SOUP_RULE_GREEDY: _greedy,
    pb.HEAD_SOUP_RULE_FISHER: _fisher,
    pb.HEAD_SOUP_RULE_MOMENTS: _moments,
}
