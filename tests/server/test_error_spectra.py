"""Spectra weighted by the errors of a head: the formula by groups, classes and all rows; intervals; refusals."""

import numpy as np
import pytest
from grouped_store import GroupedStore, grouped_store
from scipy.special import softmax

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, groups_pb2
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra.parts import Resources
from penult_server.compute.spectra.spectra import compute_spectra
from penult_server.errors import ServiceError
from penult_server.front.services.spectra import fill_in
from penult_server.messages import array_from_proto
from penult_server.records import LabelNames
from penult_server.stores.features import FeatureHeader, FeatureWriter

D, GAMMA = 6, 4.0
NUMPY = Backend(np, "numpy", "cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> GroupedStore:
    return grouped_store(tmp_path_factory.mktemp("store"))


def asked(store, digest, *, budget=2**24, **fields) -> pb.Spectra:
    source = pb.FeatureSource(feature_set=digest, grouping=fields.pop("grouping", ""))
    request = pb.ComputeSpectraRequest(
        source=source,
        by=fields.pop("by", pb.SPECTRA_BY_GROUP),
        weights=pb.SPECTRA_WEIGHTS_ERRORS,
        gamma=GAMMA,
        top_k=D,
        center=True,
        confidence=0.9,
        seed=1,
    )
    request.MergeFrom(pb.ComputeSpectraRequest(**fields))
    residents = ResidentFeatures(store.root, NUMPY, budget)
    resources = Resources(root=store.root, residents=residents, backend=NUMPY, check=lambda: None)
    return compute_spectra(request, resources)


def expected(store, rows) -> np.ndarray:
    """Eigenvalues of some rows by the formula."""
    x = store.features(n_features=D).astype(np.float64)
    head = np.random.default_rng(0).standard_normal((2, D)), np.array([0.3, -0.1])
    logits = (store.features(n_features=D) @ head[0].T + head[1]).astype(np.float32).astype(np.float64)
    p = softmax(logits, axis=1)[np.arange(len(x)), store.y]
    share = np.exp(GAMMA * (1 - p[rows]))
    share /= share.sum()
    centered = x[rows] - share @ x[rows]
    return np.linalg.eigvalsh(centered.T @ (share[:, None] * centered))[::-1]


def test_every_part_has_the_eigenvalues_of_its_weighted_covariance(store):
    digest = store.written(n_features=D)
    group = 2 * store.y + store.place
    parts = {
        pb.SPECTRA_BY_GROUP: [group == g for g in range(4)],
        pb.SPECTRA_BY_CLASS: [store.y == c for c in range(2)],
        pb.SPECTRA_BY_ALL: [store.y >= 0],
    }
    for by, members in parts.items():
        found = asked(store, digest, by=by)
        values = array_from_proto(found.eigenvalues, "eigenvalues")
        for own, rows in zip(values, members, strict=True):
            np.testing.assert_allclose(own, expected(store, rows), rtol=1e-9)
        np.testing.assert_allclose(array_from_proto(found.trace, "trace"), values.sum(axis=1), rtol=1e-10)
        assert [one.count for one in found.groups] == [rows.sum() for rows in members]
        assert not found.HasField("interval")
    assert found.groups[0].name == "all rows"
    assert not found.imbalance
    by_group = asked(store, digest)
    for one in by_group.imbalance:
        largest = array_from_proto(by_group.eigenvalues, "eigenvalues")[:, 0]
        assert one.ratio == largest[one.minority] / largest[one.majority]
        assert np.isnan([one.matched_ratio, one.low, one.p_value]).all()


def test_a_grouping_stands_in_for_the_attribute(store):
    by_grouping = asked(store, store.written(n_features=D), grouping=store.of_attribute("light"))
    by_attribute = asked(store, store.written(n_features=D, attribute="light"))
    assert by_grouping.eigenvalues == by_attribute.eigenvalues
    # Rows in no group are in no part, also where there is one part of all.
    value = np.where(np.arange(len(store.y)) < 50, -1, store.light)
    some = asked(store, store.written(n_features=D), by=pb.SPECTRA_BY_ALL, grouping=store.grouping(value, ("a", "b")))
    values = array_from_proto(some.eigenvalues, "eigenvalues")
    np.testing.assert_allclose(values[0], expected(store, value >= 0), rtol=1e-9)


def test_intervals_hold_their_eigenvalue_and_follow_the_seed(store):
    digest = store.written(n_features=D)
    one, same, other = (asked(store, digest, replicates=60, seed=seed) for seed in (1, 1, 2))
    interval = array_from_proto(one.interval, "interval")
    largest = array_from_proto(one.eigenvalues, "eigenvalues")[:, 0]
    assert interval.shape == (4, 2)
    assert ((interval[:, 0] < largest) & (largest < interval[:, 1])).all()
    assert one.interval == same.interval != other.interval


def test_a_great_gamma_leaves_the_worst_rows(store):
    """Nothing underflows: in the end a part is the rows of its largest error."""
    found = asked(store, store.written(n_features=D), gamma=1e8, replicates=5)
    values = array_from_proto(found.eigenvalues, "eigenvalues")
    assert np.isfinite(values).all()
    assert values.max() < 1e-3 * max(expected(store, store.y >= 0))


def test_refusals(store):
    x = store.features(n_features=D)
    header = FeatureHeader(
        n_examples=len(x), n_features=D, dtype="float32", labels=LabelNames(classes=("cat", "dog")), n_logits=0
    )
    with FeatureWriter(store.root, header) as writer:
        writer.append(features=x, y=store.y, a=0 * store.y, row_id=store.row_id)
        plain = writer.finish().digest
    with pytest.raises(ServiceError, match="neither logits nor a head"):
        asked(store, plain)
    with pytest.raises(ServiceError, match="weights are of rows in memory") as raised:
        asked(store, plain, budget=10)
    assert raised.value.kind is ErrorKind.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"gamma": 3.0}, "gamma= has no effect"),
        ({"by": pb.SPECTRA_BY_ALL}, "by='all' takes all rows"),
        ({"weights": pb.SPECTRA_WEIGHTS_ERRORS, "gamma": -1.0}, "gamma must be a finite number, at least 0"),
        ({"weights": pb.SPECTRA_WEIGHTS_ERRORS, "gamma": float("inf")}, "gamma must be a finite number"),
        ({"weights": pb.SPECTRA_WEIGHTS_ERRORS, "correction": 1}, "correction must be 0"),
        ({"weights": pb.SPECTRA_WEIGHTS_ERRORS, "center": False}, "center must be True"),
        (
            {
                "weights": pb.SPECTRA_WEIGHTS_ERRORS,
                "by": pb.SPECTRA_BY_CLASS,
                "source": pb.FeatureSource(grouping="g"),
            },
            "by='class' pools the groups",
        ),
    ],
)
def test_the_front_refuses(fields, says):
    feature_set = features_pb2.FeatureSet(n_features=D, labels=groups_pb2.Labels(classes=["cat", "dog"]))
    with pytest.raises(ServiceError, match=says):
        fill_in(pb.ComputeSpectraRequest(**fields), feature_set)


def test_the_front_leaves_plain_questions_as_they_were():
    """So that their answers are found under the digests they always had."""
    feature_set = features_pb2.FeatureSet(n_features=D, groups=[groups_pb2.Group()], labels={"classes": ["cat"]})
    plain, uniform = pb.ComputeSpectraRequest(), pb.ComputeSpectraRequest(weights=pb.SPECTRA_WEIGHTS_UNIFORM)
    for request in (plain, uniform):
        fill_in(request, feature_set)
        assert not request.weights
        assert not request.HasField("gamma")
    weighted = pb.ComputeSpectraRequest(weights=pb.SPECTRA_WEIGHTS_ERRORS, by=pb.SPECTRA_BY_ALL)
    fill_in(weighted, feature_set)
    assert weighted.gamma == 10
