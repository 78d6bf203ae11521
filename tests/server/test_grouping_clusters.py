"""Methods that cluster: planted groups are found, rules find them in other rows, and what cannot be is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from planted_rows import planted_rows, question
from sklearn.metrics import adjusted_rand_score

from penult_kernels.linear.problem import Head
from penult_proto.errors import ErrorKind
from penult_proto.grouping_methods import METHODS
from penult_server.compute.groupings.found import Found, Rows
from penult_server.compute.groupings.methods.clustering.tables import FINDERS, RULES
from penult_server.errors import ServiceError

WAYS = {
    "kmeans": ("kmeans", {}, {}),
    "kmeans of logits": ("kmeans", {}, {"on": "logits"}),
    "kmeans along axes": ("kmeans", {"components": 3}, {}),
    "spare": ("spare", {}, {}),
    "george": ("george", {}, {}),
    "george by mixtures": ("george", {}, {"model": "gmm"}),
    "george by hardness": ("george", {}, {"reduction": "hardness"}),
    "george unreduced": ("george", {}, {"reduction": "none"}),
    "gmm": ("gmm", {}, {}),
    "gmm by bic": ("gmm", {}, {"choose": "bic"}),
    "gmm by silhouette": ("gmm", {"max_k": 4}, {"choose": "silhouette"}),
    "facts": ("facts", {}, {}),
    "facts of given predictions": ("facts", {}, {"predictions": "given"}),
    "facts from k-means": ("facts", {"components": 2}, {"start": "kmeans"}),
}


def found_by(way: str, rows: Rows, fit: Rows | None = None, *, seed: int = 0) -> Found:
    method, numbers, words = WAYS[way]
    return FINDERS[method](question(method, rows, fit, numbers=numbers, words=words, seed=seed))


def ari(a: np.ndarray, value: np.ndarray, y: np.ndarray) -> float:
    """The lowest of the classes."""
    return min(adjusted_rand_score(a[y == c], value[y == c]) for c in np.unique(y))


@pytest.fixture(scope="module")
def rows() -> Rows:
    return planted_rows(0)


@pytest.mark.parametrize("way", WAYS)
def test_planted_groups_are_found_here_and_by_the_rule_elsewhere(way, rows):
    found = found_by(way, rows)
    assert ari(rows.a, found.value, rows.y) > 0.95
    assert found.names == ("cluster 0", "cluster 1")
    for y in (0, 1):
        count = np.bincount(found.value[rows.y == y])
        # The larger cluster comes first.
        assert count[0] > count[1] > 0
    value, soft = RULES[found.rule](found.rule_arrays, rows)
    np.testing.assert_array_equal(value, found.value)
    if found.soft is not None:
        np.testing.assert_array_equal(soft, found.soft)
        np.testing.assert_array_equal(found.soft.argmax(axis=1), found.value)
        np.testing.assert_allclose(found.soft.sum(axis=1), 1, atol=1e-5)
    other = planted_rows(1, n=300, first_id=5000)
    value, _ = RULES[found.rule](found.rule_arrays, other)
    assert ari(other.a, value, other.y) > 0.95
    assert all(array.dtype.kind in "fiu" for array in found.rule_arrays.values())


@pytest.mark.parametrize("way", ["kmeans", "george", "gmm", "facts"])
def test_fitted_on_one_set_and_grouped_in_another(way, rows):
    other = planted_rows(1, n=500, first_id=5000)
    found = found_by(way, other, rows)
    np.testing.assert_array_equal(found.value, RULES[found.rule](found_by(way, rows).rule_arrays, other)[0])


@pytest.mark.parametrize("way", ["kmeans", "george by mixtures", "gmm", "spare", "facts"])
def test_order_of_rows_does_not_matter_and_the_seed_decides(way, rows):
    order = np.random.default_rng(5).permutation(rows.y.size)
    shuffled = replace(
        rows,
        features=rows.features[order],
        y=rows.y[order],
        a=rows.a[order],
        row_id=rows.row_id[order],
        logits=rows.logits[order],
    )
    one, again, moved = found_by(way, rows), found_by(way, rows), found_by(way, shuffled)
    np.testing.assert_array_equal(again.value, one.value)
    np.testing.assert_array_equal(moved.value, one.value[order])
    for name, array in one.rule_arrays.items():
        # The head that FACTS fits is the optimum to a tolerance, which the order of sums may use.
        np.testing.assert_allclose(moved.rule_arrays[name], array, atol=1e-3 if way == "facts" else 0)


@pytest.mark.parametrize("way", ["kmeans", "george", "gmm", "facts"])
def test_translation_and_scaling_change_nothing(way, rows):
    wide = replace(rows, features=rows.features.astype(np.float64))
    expected = found_by(way, wide).value
    for features in (wide.features + 1000.0, wide.features * 2.0**-20, wide.features * 2.0**20):
        np.testing.assert_array_equal(found_by(way, replace(wide, features=features)).value, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_any_stored_type(rows, dtype):
    stored = replace(rows, features=rows.features.astype(dtype))
    assert ari(rows.a, found_by("george", stored).value, rows.y) > 0.95


def test_classes_of_different_numbers_of_clusters(rows):
    """Three shortcuts in one class, two in the other: the values of each class are contiguous."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((600, 4)) * 0.3
    y = np.repeat([0, 1], 300)
    a = np.concatenate([rng.choice(3, 300, p=[0.5, 0.3, 0.2]), rng.choice(2, 300, p=[0.7, 0.3])])
    x[:, 0] += 5.0 * a
    source = Rows(
        features=x, y=y, a=a, row_id=np.arange(600, dtype=np.uint64), logits=np.zeros((600, 2)), labels=rows.labels
    )
    for method, words in (("george", {}), ("gmm", {"choose": "bic"}), ("gmm", {"choose": "silhouette"})):
        found = FINDERS[method](question(method, source, words=words, numbers={"components": 2}))
        assert ari(a, found.value, y) > 0.95
        assert found.names == ("cluster 0", "cluster 1", "cluster 2")
        assert np.bincount(found.value[y == 0]).tolist() == sorted(np.bincount(a[y == 0]), reverse=True)
        assert found.value[y == 1].max() == 1


def test_george_cuts_what_stands_out_by_loss(rows):
    """One far cluster, and one of two near parts, the smaller of which has the higher loss."""
    rng = np.random.default_rng(4)
    part = np.repeat([0, 1, 2], [300, 200, 60])
    x = rng.standard_normal((560, 6)) * 0.1
    x[:, 0] += np.array([0.0, 4.0, 4.0])[part]
    x[:, 1] += np.array([0.0, 0.0, 3.0])[part]
    margin = np.where(part == 2, -2.0, 2.0)

    def groups(margin, **numbers):
        source = Rows(
            features=x,
            y=np.zeros(560, np.int64),
            a=part,
            row_id=np.arange(560, dtype=np.uint64),
            logits=np.stack([margin, -margin], axis=1),
            labels=rows.labels,
        )
        return FINDERS["george"](question("george", source, numbers={"max_k": 2, "overcluster": 2, **numbers}))

    found = groups(margin)
    assert adjusted_rand_score(part, found.value) > 0.95
    assert (found.scores["clusters of cat"], found.scores["groups of cat"]) == (2, 3)
    # With fewer rows than a part must have, or without parts, the two stay together.
    for other in (groups(margin, min_rows=70), groups(margin, overcluster=1)):
        assert other.names == ("cluster 0", "cluster 1")


def test_spare_says_how_its_clusters_are_sampled(rows):
    for threshold, power in ((0.9999, 3.0), (0.1, 1.0)):
        found = FINDERS["spare"](question("spare", rows, numbers={"threshold": threshold, "power": 3.0}))
        assert found.scores["sampling_power of cat"] == power
        assert 0.1 < found.scores["silhouette of cat"] < 0.9999


def test_silhouettes_of_many_rows_are_those_of_a_sample(rows, monkeypatch):
    monkeypatch.setattr("penult_kernels.groupings.silhouette.sample.__defaults__", (60,))
    assert ari(rows.a, found_by("george", rows).value, rows.y) > 0.95


@pytest.mark.parametrize(("start", "components"), [("kmeans", 8), ("confusion", 4)])
def test_domino_finds_the_slices_that_err(rows, start, components):
    numbers = {"components": components, "slices": 2}
    found = FINDERS["domino"](question("domino", rows, numbers=numbers, words={"start": start}))
    assert found.names == ("slice 1", "slice 2", "rest")
    errs = rows.logits.argmax(axis=1) != rows.y
    assert adjusted_rand_score(errs, found.value < 2) > (0.75 if start == "kmeans" else 0.95)
    if start == "confusion":
        # A slice errs in one way: its rows are those of one class.
        assert [np.unique(rows.y[found.value == value]).size for value in (0, 1)] == [1, 1]
    assert found.scores["error gap of slice 1"] >= found.scores["error gap of slice 2"] > 0.5
    value, soft = RULES[found.rule](found.rule_arrays, rows)
    np.testing.assert_array_equal(value, found.value)
    np.testing.assert_array_equal(soft, found.soft)
    other = planted_rows(1, n=300, first_id=5000)
    value, _ = RULES[found.rule](found.rule_arrays, other)
    assert adjusted_rand_score(other.logits.argmax(axis=1) != other.y, value < 2) > 0.75


def test_slices_with_few_rows_of_a_class_join_the_rest(rows):
    few = FINDERS["domino"](question("domino", rows, numbers={"components": 4, "min_rows": 100}))
    counts = np.stack([np.bincount(few.value[rows.y == y], minlength=len(few.names)) for y in (0, 1)])
    assert (counts[:, :-1][counts[:, :-1] > 0] >= 100).all()


@pytest.mark.parametrize(
    ("method", "numbers", "words"),
    [
        ("domino", {"components": 8}, {}),
        ("spare", {}, {}),
        ("kmeans", {}, {"on": "logits"}),
        ("george", {}, {"reduction": "hardness"}),
        ("facts", {}, {"predictions": "given"}),
    ],
)
def test_a_given_head_goes_with_the_rule(rows, method, numbers, words):
    """The rule of a head that was given asks that head, whatever logits other rows have."""
    weight = np.linalg.lstsq(rows.features - rows.features.mean(axis=0), rows.logits, rcond=None)[0].T
    head = Head(weight=weight, bias=-weight @ rows.features.mean(axis=0))
    told = replace(rows, logits=rows.features.astype(np.float64) @ weight.T + head.bias)
    found = FINDERS[method](replace(question(method, told, numbers=numbers, words=words), head=head))
    for logits in (None, rows.logits * -1):
        value, _ = RULES[found.rule](found.rule_arrays, replace(rows, logits=logits))
        np.testing.assert_array_equal(value, found.value)


def refused(way: str, rows: Rows, **numbers: float) -> ServiceError:
    method, defaults, words = WAYS.get(way, (way, {}, {}))
    with pytest.raises(ServiceError) as caught:
        FINDERS[method](question(method, rows, numbers={**defaults, **numbers}, words=words))
    return caught.value


def some(rows: Rows, keep: np.ndarray) -> Rows:
    return replace(
        rows,
        features=rows.features[keep],
        y=rows.y[keep],
        a=rows.a[keep],
        row_id=rows.row_id[keep],
        logits=rows.logits[keep],
    )


@pytest.mark.parametrize("way", ["kmeans", "spare", "george", "gmm", "facts", "domino"])
def test_more_groups_than_one_for_25_rows(way, rows):
    wide = refused(way, some(rows, np.arange(40)))
    assert wide.kind in (ErrorKind.INVALID_ARGUMENT, ErrorKind.EMPTY_GROUP)
    assert "25 rows" in wide.message or "too few" in wide.message


def test_many_clusters_of_few_rows(rows):
    error = refused("kmeans", rows, k=40)
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert "80 groups of 800 rows" in error.message


@pytest.mark.parametrize("way", ["kmeans", "george", "gmm", "facts", "spare"])
def test_a_class_that_is_too_small_is_named(way, rows):
    dogs = np.flatnonzero(rows.y == 1)
    error = refused(way, some(rows, np.concatenate([np.flatnonzero(rows.y == 0), dogs[:3]])))
    assert error.kind is ErrorKind.EMPTY_GROUP
    assert "class 'dog': 3 rows are too few for 2 clusters" in error.message


def test_a_class_without_rows_to_fit(rows):
    cats = some(rows, np.flatnonzero(rows.y == 0))
    with pytest.raises(ServiceError, match="class 'dog': 0 rows") as caught:
        FINDERS["kmeans"](question("kmeans", rows, cats))
    assert caught.value.kind is ErrorKind.EMPTY_GROUP
    # Where the source has none of the class either, it is left alone; other rows of it are in no group.
    found = FINDERS["kmeans"](question("kmeans", cats))
    value, _ = RULES["centroids"](found.rule_arrays, rows)
    np.testing.assert_array_equal(value < 0, rows.y == 1)


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_are_all_equal(way, rows):
    same = replace(rows, features=np.ones_like(rows.features), logits=np.ones_like(rows.logits))
    error = refused(way, same)
    assert error.kind is ErrorKind.EMPTY_GROUP
    assert "class 'cat'" in error.message


@pytest.mark.parametrize("way", ["spare", "george", "kmeans of logits", "facts of given predictions", "domino"])
def test_logits_are_needed(way, rows):
    error = refused(way, replace(rows, logits=None))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert "logits" in error.message


@pytest.mark.parametrize("way", ["spare", "george", "george by hardness", "domino", "facts of given predictions"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_logits_that_are_no_numbers(way, number, rows):
    logits = rows.logits.copy()
    logits[7] = number
    assert refused(way, replace(rows, logits=logits)).kind is ErrorKind.NOT_FINITE


@pytest.mark.parametrize("way", ["kmeans", "george", "gmm", "domino", "facts of given predictions"])
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e200])
def test_features_without_squares(way, number, rows):
    features = rows.features.astype(np.float64)
    features[7, 3] = number
    assert refused(way, replace(rows, features=features)).kind is ErrorKind.NOT_FINITE


def test_features_of_any_size_that_can_be_multiplied(rows):
    for size in (1e-60, 1e60):
        scaled = replace(rows, features=rows.features.astype(np.float64) * size)
        for way in ("kmeans", "george", "gmm"):
            assert ari(rows.a, found_by(way, scaled).value, rows.y) > 0.95


def test_a_rule_for_rows_of_another_width(rows):
    narrow = replace(rows, features=rows.features[:, :5])
    for way in ("kmeans", "gmm", "facts"):
        found = found_by(way, rows)
        with pytest.raises(ServiceError):
            RULES[found.rule](found.rule_arrays, narrow)


def test_what_a_mixture_cannot_begin_as(rows):
    assert "give components=4 or more" in refused("domino", rows, components=3).message
    assert "copies of each other" in refused("facts", rows, components=3).message
    wide = replace(rows, features=np.tile(rows.features, (1, 3)))
    with pytest.raises(ServiceError, match="32 axes at most, got 48"):
        FINDERS["george"](question("george", wide, words={"model": "gmm", "reduction": "none"}))


def test_umap_where_it_is_installed_and_where_not(rows, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(ServiceError, match="pip install umap-learn"):
        FINDERS["george"](question("george", rows, words={"reduction": "umap"}))

    class Plane:
        """Stands in for a map: the first two features."""

        def __init__(self, **options):
            assert options["n_neighbors"] == 10
            assert options["min_dist"] == 0.0
            self.p = options["n_components"]

        def fit_transform(self, x):
            return self.transform(x)

        def transform(self, x):
            return x[:, : self.p]

    monkeypatch.setitem(__import__("sys").modules, "umap", SimpleNamespace(UMAP=Plane))
    found = FINDERS["george"](question("george", rows, words={"reduction": "umap"}))
    assert (found.rule, found.rule_arrays) == ("", {})
    other = FINDERS["george"](question("george", planted_rows(1, n=400), rows, words={"reduction": "umap"}))
    assert other.value.shape == (400,)


def test_every_method_that_clusters_is_described():
    for name in FINDERS:
        assert METHODS[name].is_random
        assert METHODS[name].sentence
        assert all(number.meaning for number in METHODS[name].numbers.values())
