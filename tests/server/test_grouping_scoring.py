"""Scores of stored groupings: within each class, against the stored groups or another grouping."""

import numpy as np
import pytest
from sklearn import metrics as sk

from penult_proto.errors import ErrorKind
from penult_proto.v1 import groupings_pb2 as pb
from penult_server.compute.groupings.scoring import score
from penult_server.errors import ServiceError
from penult_server.records import LabelNames
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.groupings import GroupingManifest, write_grouping

N = 400
Y = np.random.default_rng(0).integers(0, 2, N)
A = np.where(np.random.default_rng(1).random(N) < 0.85, Y, 1 - Y)
ROW_ID = np.arange(N, dtype=np.uint64) + np.uint64(7)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with a labelled set, and the digest of that."""
    root = tmp_path_factory.mktemp("store")
    return root, features(root, ("in", "out"))


def features(root, values):
    labels = LabelNames(classes=("cat", "dog"), attribute="place" if values else "", attribute_values=values)
    header = FeatureHeader(n_examples=N, n_features=2, dtype="float32", labels=labels, n_logits=0)
    with FeatureWriter(root, header) as writer:
        a = A if values else np.zeros_like(A)
        writer.append(features=np.ones((N, 2), np.float32), y=Y, a=a, row_id=ROW_ID)
        return writer.finish().digest


def grouping(root, feature_set, name, value, n_values=2, rows=slice(None), classes=("cat", "dog"), y=Y, **more):
    manifest = GroupingManifest(
        digest=name.ljust(64, "0"),
        feature_set=feature_set,
        classes=classes,
        values=tuple(str(index) for index in range(n_values)),
        attribute="found",
        record={},
        **more.pop("manifest", {}),
    )
    arrays = {"row_id": ROW_ID[rows], "y": y[rows], "value": value[rows], **more}
    return write_grouping(root, manifest, arrays).digest


def question(digest, truth="", permutations=200, seed=0):
    return pb.ScoreGroupingRequest(grouping=digest, truth=truth, permutations=permutations, seed=seed)


def test_scores_are_within_each_class_and_averaged_by_rows(store):
    root, digest = store
    rng = np.random.default_rng(3)
    value = np.where(rng.random(N) < 0.8, A, 1 - A)
    value[:5] = -1
    soft = np.stack([1 - value, value], axis=1).astype(np.float32) + rng.random((N, 2), np.float32)
    found = score(question(grouping(root, digest, "a1", value, soft=soft)), root)
    in_group = value >= 0
    for one in found.classes:
        rows = (one.y == Y) & in_group
        assert one.n_rows == rows.sum()
        assert one.ari == pytest.approx(sk.adjusted_rand_score(A[rows], value[rows]))
        assert one.nmi == pytest.approx(sk.normalized_mutual_info_score(A[rows], value[rows]))
        minority = 1 - one.y
        assert (one.minority, one.minority_found) == (minority, minority)
        is_minority, is_found = A[rows] == minority, value[rows] == minority
        assert one.minority_precision == pytest.approx(sk.precision_score(is_minority, is_found))
        assert one.minority_recall == pytest.approx(sk.recall_score(is_minority, is_found))
        rows = one.y == Y
        expected = sk.average_precision_score(A[rows] == minority, soft[rows, minority].astype(np.float64))
        assert one.minority_average_precision == pytest.approx(expected)
        for k, precision in ((10, one.minority_precision_at_10), (25, one.minority_precision_at_25)):
            ranked = [sorted(np.flatnonzero(rows), key=lambda row, part=part: -soft[row, part]) for part in (0, 1)]
            assert precision == max(np.mean(A[first[:k]] == minority) for first in ranked)
        assert abs(one.baseline_ari) < 0.02
        assert one.p_value == pytest.approx(1 / 201)
    sizes = [one.n_rows for one in found.classes]
    assert found.overall.ari == pytest.approx(np.average([one.ari for one in found.classes], weights=sizes))
    assert (found.overall.y, found.overall.n_rows) == (-1, N - 5)
    assert found.true_labels.attribute_values == ["in", "out"]
    # The overall index over all rows is inflated by the classes: this one is not.
    by_class = score(question(grouping(root, digest, "a2", Y.astype(np.int64))), root).overall
    assert by_class.ari == 0
    assert by_class.p_value > 0.9


def test_what_agrees_by_chance_alone_has_a_large_p_value(store):
    root, digest = store
    values = [np.random.default_rng(100 + seed).integers(0, 2, N) for seed in range(20)]
    found = [score(question(grouping(root, digest, f"b{i:02}", value)), root).overall for i, value in enumerate(values)]
    assert np.mean([one.p_value <= 0.05 for one in found]) <= 0.2
    again = score(question("b00".ljust(64, "0"), seed=1), root).overall
    assert again.p_value != found[0].p_value
    assert np.isnan(score(question("b00".ljust(64, "0"), permutations=0), root).overall.p_value)


def test_another_grouping_is_the_truth_where_both_have_rows(store):
    root, digest = store
    first = grouping(root, digest, "c1", A)
    part = grouping(root, digest, "c2", 1 - A, rows=np.arange(N)[::-2])
    found = score(question(first, truth=part), root)
    assert (found.overall.n_rows, found.overall.ari, found.overall.matched_accuracy) == (N // 2, 1, 1)
    assert found.truth == part


def refused(root, request) -> ErrorKind:
    with pytest.raises(ServiceError) as caught:
        score(request, root)
    return caught.value.kind


def test_what_cannot_be_compared_is_refused_by_kind(store):
    root, digest = store
    own = grouping(root, digest, "d1", A, manifest={"dataset_digest": "1", "split": "val"})
    bare = features(root, ())
    assert refused(root, question(grouping(root, bare, "d2", A))) == ErrorKind.ATTRIBUTE_MISSING
    others = grouping(root, digest, "d3", A, classes=("cat", "fox"))
    assert refused(root, question(own, truth=others)) == ErrorKind.OTHER_CLASSES
    moved = grouping(root, digest, "d4", A, y=1 - Y)
    assert refused(root, question(own, truth=moved)) == ErrorKind.OTHER_ROWS
    split = grouping(root, digest, "d5", A, manifest={"dataset_digest": "1", "split": "test"})
    assert refused(root, question(own, truth=split)) == ErrorKind.OTHER_ROWS
    assert refused(root, question(own, permutations=10**8)) == ErrorKind.INVALID_ARGUMENT
    assert refused(root, question("e" * 64)) == ErrorKind.UNKNOWN_GROUPING
