"""What the compute worker reads off neighbours: one stored graph for all of it, and sets that fit each other or not."""

from pathlib import Path

import numpy as np
import pytest

from penult_proto.arrays import decode
from penult_proto.errors import ErrorKind
from penult_proto.v1 import neighbours_pb2 as pb
from penult_proto.v1.spectra_pb2 import FeatureSource
from penult_server.compute.backend import choose_backend
from penult_server.compute.neighbours import graph
from penult_server.compute.neighbours.answers import duplicates, pairs
from penult_server.compute.neighbours.answers.duplicates import find_duplicates
from penult_server.compute.neighbours.answers.evaluation import evaluate_neighbours
from penult_server.compute.neighbours.answers.label_noise import find_label_noise
from penult_server.compute.neighbours.answers.rates import compute_neighbour_rates
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.compute.spectra.parts import Resources
from penult_server.errors import ServiceError
from penult_server.records import Attribute, LabelNames
from penult_server.stores.features import FeatureHeader, FeatureWriter

LABELS = LabelNames(classes=("land", "water"), attribute="place", attribute_values=("field", "lake"))
N = 120


def rows(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, a = rng.integers(0, 2, N), rng.integers(0, 2, N)
    features = rng.standard_normal((N, 8))
    features[:, 0] += 2 * y
    features[:, 1] += 3 * a
    return {
        "features": features.astype(np.float32),
        "y": y,
        "a": a,
        "row_id": rng.permutation(N).astype(np.uint64) + 7,
        "attributes": np.stack([a, rng.integers(0, 3, N)], axis=1),
    }


def written(root: Path, arrays: dict[str, np.ndarray], **changes) -> str:
    attributes = (
        Attribute(name="place", values=LABELS.attribute_values),
        Attribute(name="hour", values=("a", "b", "c")),
    )
    header = {
        "n_examples": len(arrays["y"]),
        "n_features": arrays["features"].shape[1],
        "dtype": arrays["features"].dtype.name,
        "labels": LABELS,
        "attributes": attributes,
        "n_logits": arrays["logits"].shape[1] if "logits" in arrays else 0,
    }
    with FeatureWriter(root, FeatureHeader(**header | changes)) as writer:
        writer.append(**arrays)
        return writer.finish().digest


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read")


@pytest.fixture
def resources(root: Path) -> Resources:
    backend = choose_backend("cpu")
    return Resources(root=root, residents=ResidentFeatures(root, backend, 2**24), backend=backend, check=lambda: None)


def source(digest: str) -> FeatureSource:
    return FeatureSource(feature_set=digest)


def evaluation(digest: str, among: str = "", **others) -> pb.EvaluateNeighboursRequest:
    found = pb.EvaluateNeighboursRequest(source=source(digest), **{"k": [5, 10], "temperature": 0.07} | others)
    if among:
        found.among.CopyFrom(source(among))
    return found


def test_one_stored_graph_answers_everything(root, resources, monkeypatch):
    digest = written(root, rows(1))
    evaluate_neighbours(evaluation(digest, k=[3]), resources)

    def computed(*_: object) -> None:
        raise AssertionError("the neighbours are there")

    monkeypatch.setattr(graph, "_computed", computed)
    evaluate_neighbours(evaluation(digest, k=[5, 20, 64], balanced=True), resources)
    find_duplicates(pb.FindDuplicatesRequest(source=source(digest), metric=1), resources)
    find_label_noise(pb.FindLabelNoiseRequest(source=source(digest), k=20, temperature=0.07, folds=3), resources)
    rates = compute_neighbour_rates(pb.ComputeNeighbourRatesRequest(source=source(digest), k=20, metric=1), resources)
    assert list(rates.attributes) == ["place", "hour"]
    assert rates.overall.same_attribute[0] > 0.8
    assert rates.overall.same_attribute[1] == pytest.approx(rates.overall.expected_attribute[1], abs=0.1)
    with pytest.raises(AssertionError):
        evaluate_neighbours(evaluation(digest, k=[65]), resources)


def test_more_neighbours_than_are_stored_are_computed(root, resources):
    digest = written(root, rows(2))
    whole = evaluate_neighbours(evaluation(digest, k=[N - 1]), resources)
    counts = np.bincount(rows(2)["y"], minlength=2)
    assert sum(group.count for group in whole.by_k[0].metrics.groups) == counts.sum()


def test_the_same_examples_in_another_type_have_no_vote_for_themselves(root, resources):
    """Neighbours of a row among its float16 copies are those among the others, not itself."""
    exact = rows(3) | {"features": rows(3)["features"].astype(np.float16).astype(np.float32)}
    of_split = {"dataset": "birds", "dataset_digest": "d" * 64, "split": "val"}
    first = written(root, exact, digest="1" * 64, **of_split)
    half = written(root, exact | {"features": exact["features"].astype(np.float16)}, digest="2" * 64, **of_split)
    own, across = (evaluate_neighbours(one, resources) for one in (evaluation(first), evaluation(first, half)))
    for one, other in zip(own.by_k, across.by_k, strict=True):
        assert one.metrics.correct == other.metrics.correct
        assert one.metrics.loss == pytest.approx(other.metrics.loss)
    other_split = written(root, exact, digest="3" * 64, **of_split | {"split": "test"})
    assert evaluate_neighbours(evaluation(first, other_split, k=[1]), resources).by_k[0].metrics.average_accuracy == 1


def test_accuracies_of_a_head_where_no_logits_are_stored(root, resources):
    rng = np.random.default_rng(4)
    arrays = rows(4)
    arrays["features"][1] = arrays["features"][0]
    weight, bias = rng.standard_normal((2, 8)), np.zeros(2)
    of_head = written(root, arrays, head=(weight, bias))
    logits = (arrays["features"] @ weight.T).astype(np.float32)
    of_logits = written(root, arrays | {"logits": logits}, n_logits=2)
    found = [
        find_duplicates(pb.FindDuplicatesRequest(source=source(one), metric=1), resources)
        for one in (of_head, of_logits)
    ]
    assert found[0].with_duplicates.correct == found[1].with_duplicates.correct
    assert found[0].n_exact == 1
    assert sum(group.count for group in found[0].without_duplicates.groups) == N - found[0].n_pairs
    assert decode(found[0].pairs, "pairs")[0].tolist() == arrays["row_id"][:2].tolist()


def test_all_of_a_split_may_have_leaked(root, resources):
    arrays = rows(5) | {"logits": np.zeros((N, 2), np.float32)}
    first = written(root, arrays)
    copies = written(root, arrays | {"row_id": np.arange(N, dtype=np.uint64)})
    request = pb.FindDuplicatesRequest(source=source(first), against=source(copies), metric=2)
    found = find_duplicates(request, resources)
    assert (found.n_exact, found.n_rows) == (N, N)
    assert not found.HasField("without_duplicates")
    assert found.p_value == pytest.approx(0.001)
    assert found.expected_pairs < 0.6 * found.n_pairs


@pytest.mark.parametrize("ask", [evaluate_neighbours, compute_neighbour_rates])
def test_sets_that_do_not_fit_each_other(root, resources, ask):
    arrays = rows(6)
    first = written(root, arrays, checkpoint="c" * 64, digest="4" * 64)
    other = written(root, arrays, checkpoint="e" * 64, digest="5" * 64)
    narrow = written(root, arrays | {"features": arrays["features"][:, :5].copy()})

    def request(among: str, **others):
        if ask is evaluate_neighbours:
            return evaluation(first, among, **others)
        return pb.ComputeNeighbourRatesRequest(source=source(first), among=source(among), k=3, metric=1, **others)

    for among, kind in ((other, ErrorKind.OTHER_CHECKPOINT), (narrow, ErrorKind.WRONG_SHAPE)):
        with pytest.raises(ServiceError) as caught:
            ask(request(among), resources)
        assert caught.value.kind is kind
    assert [note.id for note in ask(request(other, across_checkpoints=True), resources).notes] == ["across_checkpoints"]


def test_a_row_of_zeros_has_no_direction(root, resources):
    arrays = rows(7)
    arrays["features"][3] = 0
    digest = written(root, arrays)
    with pytest.raises(ServiceError) as caught:
        evaluate_neighbours(evaluation(digest), resources)
    assert caught.value.kind is ErrorKind.ZERO_ROW
    assert find_duplicates(pb.FindDuplicatesRequest(source=source(digest), metric=2), resources).n_pairs == 0


def test_folds_without_a_row_of_a_class(root, resources):
    """One example of a class: the head of its fold has seen none."""
    arrays = rows(8)
    arrays["y"] = np.where(np.arange(N) == 5, 1, 0)
    digest = written(root, arrays)
    request = pb.FindLabelNoiseRequest(source=source(digest), k=10, temperature=0.07, folds=5, seed=2)
    found = find_label_noise(request, resources)
    ids, head_class = decode(found.row_ids, "ids"), decode(found.head_class, "head")
    assert ids[0] == arrays["row_id"][5]
    assert head_class[0] == 0
    again = find_label_noise(request, resources)
    assert again == found


def test_pairs_beyond_the_memory_are_refused_and_long_lists_are_cut(root, resources, monkeypatch):
    digest = written(root, rows(9))
    request = pb.FindDuplicatesRequest(source=source(digest), metric=2, threshold=100.0)
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 50)
    cut = find_duplicates(request, resources)
    assert cut.truncated
    assert decode(cut.pairs, "pairs").shape == (50, 2)
    assert decode(cut.components, "components").tolist() == [0] * 50
    assert cut.n_rows == N
    assert N * 64 / 2 <= cut.n_pairs <= N * (N - 1) / 2
    monkeypatch.setattr(pairs, "available_bytes", lambda _: 1000)
    with pytest.raises(ServiceError, match="smaller threshold") as caught:
        find_duplicates(request, resources)
    assert caught.value.kind is ErrorKind.OUT_OF_MEMORY


def test_the_order_of_the_rows_changes_nothing(root, resources):
    arrays = rows(10)
    arrays["features"][7] = arrays["features"][3]
    order = np.random.default_rng(0).permutation(N)
    first, second = (written(root, one) for one in (arrays, {name: value[order] for name, value in arrays.items()}))
    noise = [
        find_label_noise(pb.FindLabelNoiseRequest(source=source(one), k=9, temperature=0.07, folds=3), resources)
        for one in (first, second)
    ]
    for name in ("row_ids", "suspicion", "flagged", "minority", "head_class"):
        np.testing.assert_allclose(*(decode(getattr(one, name), name) for one in noise), rtol=1e-9)
    pairs = [
        find_duplicates(pb.FindDuplicatesRequest(source=source(one), metric=2, threshold=0.8), resources)
        for one in (first, second)
    ]
    found = [{frozenset(pair) for pair in decode(one.pairs, "pairs").tolist()} for one in pairs]
    assert found[0] == found[1]
    rates = [
        compute_neighbour_rates(pb.ComputeNeighbourRatesRequest(source=source(one), k=9, metric=2), resources)
        for one in (first, second)
    ]
    assert rates[0].hubness == pytest.approx(rates[1].hubness)
    for one, other in zip(rates[0].groups, rates[1].groups, strict=True):
        assert one.same_class == pytest.approx(other.same_class)
