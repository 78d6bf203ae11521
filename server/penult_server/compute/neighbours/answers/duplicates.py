"""Equal and nearly equal rows: what they mean for the accuracy on one set, or on the second of two splits."""

import numpy as np
from numpy.typing import NDArray

from penult_kernels.neighbours import duplicates as kernels
from penult_proto.notes import NoteId
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.neighbours.answers.evaluation import metrics_of_labelled, stored_logits
from penult_server.compute.neighbours.answers.labelled import Integers, Labelled, labelled, shares_to_proto
from penult_server.compute.neighbours.answers.pairs import Pairs, pairs_of
from penult_server.compute.neighbours.sides import Resources
from penult_server.messages import array_to_proto
from penult_server.notes import Note, notes_to_proto

MOST_PAIRS = 200_000
"""Most pairs of an answer: some 6 MB."""
SHUFFLES = 999
"""Random splits behind a p-value at most, 99 at least."""
MOST_SHUFFLED = 100_000_000
"""Pairs that all random splits together look at, where they are more than 99."""


def find_duplicates(request: pb.FindDuplicatesRequest, resources: Resources) -> pb.Duplicates:
    """Pairs within a set, or across two. Every field of the request is set by now but perhaps the threshold.

    Raises what the search raises.
    """
    source = labelled(resources.root, request.source)
    if not request.HasField("against"):
        return _within(request, source, pairs_of(request, [source], resources), resources)
    against = labelled(resources.root, request.against)
    return _between(request, source, against, pairs_of(request, [source, against], resources), resources)


def _within(request: pb.FindDuplicatesRequest, source: Labelled, found: Pairs, resources: Resources) -> pb.Duplicates:
    component = kernels.components(found.pairs, source.n_rows)
    has_one = np.zeros(source.n_rows, dtype=np.bool_)
    has_one[found.pairs.ravel()] = True
    is_repeated = component != np.arange(source.n_rows)
    answer = _answer(request, found, source, has_one, is_repeated, resources)
    ids = source.row_id[found.pairs[:MOST_PAIRS]]
    answer.pairs.CopyFrom(array_to_proto(ids))
    answer.components.CopyFrom(array_to_proto(_numbered(component[found.pairs[:MOST_PAIRS, 0]])))
    answer.p_value = answer.expected_pairs = float("nan")
    return answer


def _between(
    request: pb.FindDuplicatesRequest, source: Labelled, against: Labelled, found: Pairs, resources: Resources
) -> pb.Duplicates:
    crossing = found.across
    kept = Pairs(
        found.pairs[crossing],
        found.distance[crossing],
        found.threshold,
        found.rule,
        found.n_first,
        found.n_rows,
        found.is_equal[crossing],
        found.notes,
    )
    second = kept.pairs[:, 1] - source.n_rows
    has_one = np.zeros(against.n_rows, dtype=np.bool_)
    has_one[second] = True
    answer = _answer(request, kept, against, has_one, has_one, resources)
    answer.against = request.against.feature_set
    ids = np.stack([source.row_id[kept.pairs[:, 0]], against.row_id[second]], axis=1)[:MOST_PAIRS]
    answer.pairs.CopyFrom(array_to_proto(ids))
    component = kernels.components(kept.pairs, found.n_rows)
    answer.components.CopyFrom(array_to_proto(_numbered(component[kept.pairs[:MOST_PAIRS, 0]])))
    shuffled = kernels.shuffled_crossings(
        found.pairs,
        source.n_rows,
        against.n_rows,
        n_shuffles=max(99, min(SHUFFLES, MOST_SHUFFLED // max(len(found.pairs), 1))),
        seed=request.seed,
        check=resources.check,
    )
    answer.p_value = float(1 + np.count_nonzero(shuffled >= len(kept.pairs))) / (1 + shuffled.size)
    answer.expected_pairs = float(shuffled.mean())
    return answer


def _answer(
    request: pb.FindDuplicatesRequest,
    found: Pairs,
    scored: Labelled,
    has_one: NDArray[np.bool_],
    is_left_out: NDArray[np.bool_],
    resources: Resources,
) -> pb.Duplicates:
    """What is said of the set whose accuracy may rest on duplicates, and of the pairs but their ids."""
    answer = pb.Duplicates(
        feature_set=request.source.feature_set,
        metric=request.metric,
        distances=array_to_proto(found.distance[:MOST_PAIRS]),
        threshold=found.threshold,
        rule=found.rule,
        n_exact=int(found.is_equal.sum()),
        n_rows=int(has_one.sum()),
        groups=shares_to_proto(scored, has_one),
        truncated=len(found.pairs) > MOST_PAIRS,
        n_pairs=len(found.pairs),
        notes=notes_to_proto([*found.notes, *scored.notes]),
        grouping=scored.used_grouping,
    )
    logits = stored_logits(scored, resources)
    if logits is None:
        text = (
            f"feature set {scored.manifest.digest[:12]} has no logits of its {scored.n_classes} classes and no head, "
            "so that no accuracy is said with and without duplicates: extract it, or upload it with logits=..."
        )
        answer.notes.extend(notes_to_proto([Note(NoteId.NO_LOGITS, text)]))
        return answer
    is_used = scored.g >= 0
    answer.with_duplicates.CopyFrom(metrics_of_labelled(logits, scored, is_used))
    if np.any(is_used & ~is_left_out):
        answer.without_duplicates.CopyFrom(metrics_of_labelled(logits, scored, is_used & ~is_left_out))
    return answer


def _numbered(labels: Integers) -> Integers:
    """The labels as 0, 1, ... in the order in which they first come."""
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    return rank[place]
