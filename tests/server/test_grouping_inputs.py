"""Rows of a question about groups, and the methods that look at predictions, on a store with planted groups."""

import numpy as np
import pytest

from penult_kernels.sampling.weights import eiil_environments
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groupings_pb2 as pb
from penult_proto.v1 import refits_pb2, spectra_pb2
from penult_server.compute.backend import choose_backend
from penult_server.compute.groupings.inputs import Access, read_inputs, read_rows
from penult_server.compute.groupings.methods import eiil, errors, predictions, regularised_errors
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto
from penult_server.records import LabelNames
from penult_server.stores.features import FeatureHeader, FeatureWriter

PLACES = ("in", "out")


def planted(seed: int, n: int = 600, share: float = 0.95):
    """Features whose first direction is the class and second, more visible, the place; y, a."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    a = np.where(rng.random(n) < share, y, 1 - y)
    x = rng.standard_normal((n, 12)) * 0.5
    x[:, 0] += 0.7 * y
    x[:, 1] += 2.5 * a
    return x.astype(np.float32), y, a


def store(root, x, y, a, *, classes=("cat", "dog"), logits=None, first_id=0):
    labels = LabelNames(classes=classes, attribute="place", attribute_values=PLACES)
    n_logits = 0 if logits is None else 2
    header = FeatureHeader(n_examples=len(x), n_features=x.shape[1], dtype="float32", labels=labels, n_logits=n_logits)
    more = {} if logits is None else {"logits": logits.astype(np.float32)}
    with FeatureWriter(root, header) as writer:
        writer.append(features=x, y=y, a=a, row_id=np.arange(len(x), dtype=np.uint64) + np.uint64(first_id), **more)
        return writer.finish().digest


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with a validation and a training set, both with logits."""
    root = tmp_path_factory.mktemp("store")
    x, y, a = planted(1)
    logits = np.stack([1.2 - x[:, 1], x[:, 1] - 1.2], axis=1)
    val = store(root, x, y, a, logits=logits)
    train_x, train_y, train_a = planted(2, n=900)
    train = store(root, train_x, train_y, train_a, logits=train_x[:, :2], first_id=5000)
    return root, val, train


@pytest.fixture
def reader(stored):
    backend = choose_backend("cpu")
    material = RefitMaterial(stored[0], backend, ResidentFeatures(stored[0], backend, 2**24))
    return Access(root=stored[0], material=material, check=lambda: None)


def question(method, digest, **fields):
    return pb.DiscoverGroupsRequest(method=method, source=spectra_pb2.FeatureSource(feature_set=digest), **fields)


def test_sets_are_read_with_their_logits(stored, reader):
    _, val, train = stored
    inputs = read_inputs(question("regularised_errors", val, fit=train), reader)
    x, y, _ = planted(2, n=900)
    np.testing.assert_array_equal(inputs.fit.y, y)
    np.testing.assert_array_equal(inputs.fit.logits, x[:, :2])
    assert inputs.fit.row_id[0] == 5000
    assert read_inputs(question("errors", val), reader).fit.row_id[0] == 0


def test_selected_rows_keep_their_labels(stored, reader):
    _, val, _ = stored
    wanted = np.array([599, 3, 4, 100, 101, 102, 103], dtype=np.uint64)
    asked = question("errors", val)
    asked.source.rows.row_ids.CopyFrom(array_to_proto(wanted))
    rows = read_inputs(asked, reader).source
    x, y, a = planted(1)
    at = np.sort(wanted).astype(np.int64)
    np.testing.assert_array_equal(rows.row_id, at)
    np.testing.assert_array_equal(rows.features, x[at])
    np.testing.assert_array_equal(np.stack([rows.y, rows.a]), np.stack([y, a])[:, at])


def test_errors_are_those_of_the_logits_and_of_a_given_head(stored, reader):
    _, val, train = stored
    x, y, _ = planted(1)
    inputs = read_inputs(question("errors", val), reader)
    found = errors.find(inputs)
    np.testing.assert_array_equal(found.value, (x[:, 1] > 1.2).astype(int) != y)
    assert found.names == ("right", "errors")
    assert found.rule_arrays == {}
    np.testing.assert_allclose(found.soft.sum(axis=1), 1, atol=1e-6)
    # A head with its rows in the other order of classes, which is matched by name.
    weight = np.zeros((2, 12))
    weight[0, 0], weight[1, 0] = 1, -1
    head = refits_pb2.Head(
        weight=array_to_proto(weight), bias=array_to_proto(np.array([-0.4, 0.4])), classes=["dog", "cat"]
    )
    asked = question("errors", val, head=refits_pb2.HeadReference(explicit=head))
    given = errors.find(read_inputs(asked, reader))
    np.testing.assert_array_equal(given.value, (x[:, 0] > 0.4).astype(int) != y)
    # The rule asks the same head about other rows.
    rows = read_rows(spectra_pb2.FeatureSource(feature_set=train), reader)
    value, _ = errors.assign(given.rule_arrays, rows)
    other_x, other_y, _ = planted(2, n=900)
    np.testing.assert_array_equal(value, (other_x[:, 0] > 0.4).astype(int) != other_y)


def test_eiil_and_predictions_are_closed_forms(stored, reader):
    _, val, _ = stored
    inputs = read_inputs(question("eiil", val), reader)
    np.testing.assert_array_equal(eiil.find(inputs).value, eiil_environments(inputs.source.logits, inputs.source.y))
    found = predictions.find(inputs)
    np.testing.assert_array_equal(found.value, inputs.source.logits.argmax(axis=1))
    assert found.names == ("cat", "dog")
    value, soft = predictions.assign(found.rule_arrays, inputs.source)
    np.testing.assert_array_equal(value, found.value)
    np.testing.assert_array_equal(soft, found.soft)


@pytest.mark.parametrize("balance", ["class", "none"])
def test_a_strongly_regularised_head_errs_on_the_planted_minorities(stored, reader, balance):
    _, val, train = stored
    asked = question(
        "regularised_errors", val, fit=train, numbers={"l2": 1.0}, words={"balance": balance, "standardize": "rows"}
    )
    inputs = read_inputs(asked, reader)
    found = regularised_errors.find(inputs)
    is_minority = inputs.source.a != inputs.source.y
    assert found.value[is_minority].mean() > 0.8
    assert found.value[~is_minority].mean() < 0.05
    value, _ = errors.assign(found.rule_arrays, inputs.source)
    np.testing.assert_array_equal(value, found.value)
    assert not found.notes


def refused(reader, asked) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        read_inputs(asked, reader)
    return caught.value


def test_what_cannot_be_asked_is_refused_by_kind(stored, reader):
    _, val, _ = stored
    one_class = question("eiil", val)
    one_class.source.rows.row_ids.CopyFrom(array_to_proto(np.flatnonzero(planted(1)[1] == 0)[:9].astype(np.uint64)))
    error = refused(reader, one_class)
    assert (error.kind, "'dog'" in error.message) == (ErrorKind.EMPTY_GROUP, True)
    huge = refits_pb2.Head(weight=array_to_proto(np.full((2, 12), 1e308)), bias=array_to_proto(np.zeros(2)))
    error = refused(reader, question("errors", val, head=refits_pb2.HeadReference(explicit=huge)))
    assert error.kind == ErrorKind.NOT_FINITE
    narrow = refits_pb2.Head(weight=array_to_proto(np.ones((2, 4))), bias=array_to_proto(np.zeros(2)))
    error = refused(reader, question("errors", val, head=refits_pb2.HeadReference(explicit=narrow)))
    assert error.kind == ErrorKind.WRONG_SHAPE


def test_a_head_without_errors_makes_no_groups(stored, reader):
    root, _, _ = stored
    x, y, a = planted(4, n=60)
    perfect = store(root, x, y, a, logits=np.eye(2)[y], first_id=20000)
    with pytest.raises(ServiceError, match="regularised_errors") as caught:
        errors.find(read_inputs(question("errors", perfect), reader))
    assert caught.value.kind == ErrorKind.EMPTY_GROUP
