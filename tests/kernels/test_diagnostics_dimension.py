"""Dimensions beside descriptors of the same rows, naive formulas, planted subspaces, and repeated samples."""

import math

import numpy as np
import pytest
from diagnosed import distances_within, number, planted, subject_of, values_of

from penult_kernels.diagnostics.planner import Settings
from penult_kernels.spectra import descriptors

SPECTRAL = ("rank_me", "effective_rank", "participation_ratio", "power_law_exponent")
SHORT = {"power_law_first": 2, "power_law_last": 5}


@pytest.fixture(scope="module")
def made():
    return planted(seed=8, n=150)


def whole(x, **changes):
    """All rows are one part."""
    n, part = len(x), np.zeros(len(x), int)
    made = {"x": x, "y": np.arange(n) % 2, "a": part, "weight": np.eye(2, x.shape[1]), "bias": np.zeros(2)}
    near = {"neighbours": lambda k: distances_within(x, part, k)}
    return subject_of(made, **{"part": part, "n_parts": 1, "columns": {}, "other": None} | near | changes)


def test_values_are_those_of_descriptors(backend, made):
    """By NumPy from the rows of each part, on every library."""
    found = values_of(subject_of(made, like=backend.array), SPECTRAL, Settings(replicates=0, matched=0, numbers=SHORT))
    part = made["y"] * 2 + made["a"]
    for p in range(6):
        rows = made["x"][part == p]
        values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))[::-1]
        expected = {
            "rank_me": descriptors.rank_me(np.linalg.svd(rows, compute_uv=False)),
            "effective_rank": descriptors.effective_rank(values),
            "participation_ratio": descriptors.participation_ratio(values),
            "power_law_exponent": descriptors.power_law_exponent(values, 2, 5),
        }
        for id, value in expected.items():
            assert found[id, (p,), ""].value == pytest.approx(value, rel=1e-7)


def test_fewer_rows_than_features_have_no_more_singular_values_than_rows():
    x = np.random.default_rng(1).standard_normal((9, 30))
    found = values_of(whole(x), SPECTRAL)
    assert found["rank_me", (0,), ""].value == pytest.approx(descriptors.rank_me(np.linalg.svd(x, compute_uv=False)))
    assert math.isnan(found["power_law_exponent", (0,), ""].value)
    assert "eigenvalue at every rank" in found["power_law_exponent", (0,), ""].note
    assert "more rows than features" in found["rank_me", (0,), ""].note


def test_standard_errors_are_those_of_repeated_samples():
    """The delta method beside the spread over 60 samples of 400 rows."""
    rng, scale = np.random.default_rng(2), np.arange(1, 9) ** -0.7
    samples = [rng.standard_normal((400, 8)) * scale + 1 for _ in range(60)]
    settings = Settings(replicates=0, matched=0, numbers=SHORT)
    each = [values_of(whole(x), SPECTRAL, settings) for x in samples]
    for id in SPECTRAL:
        values = [one[id, (0,), ""] for one in each]
        error = np.mean([(one.high - one.low) / 3.92 for one in values])
        assert error == pytest.approx(np.std([one.value for one in values]), rel=0.35), id


def test_of_fewer_rows_than_features_blocks_are_left_out():
    """The jackknife beside the spread over 40 samples of 40 rows of 90 features, which it comes near."""
    rng, scale = np.random.default_rng(4), np.arange(1, 91) ** -0.7
    settings = Settings(replicates=0, matched=0, numbers=SHORT)
    each = [values_of(whole(rng.standard_normal((40, 90)) * scale + 1), SPECTRAL, settings) for _ in range(40)]
    for id in ("rank_me", "effective_rank", "participation_ratio"):
        found = [one[id, (0,), ""] for one in each]
        errors = [(one.high - one.low) / (2 * 1.959964) for one in found]
        spread = np.std([one.value for one in found])
        assert 0.7 < np.sqrt(np.mean(np.square(errors))) / spread < 1.4
        assert found[0].note == "interval by leaving out blocks of rows"
    assert math.isnan(each[0]["power_law_exponent", (0,), ""].low)


def test_matched_values_tell_size_from_spread():
    """Two parts of one distribution: RankMe differs at their sizes, and not at matched n."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((440, 60)) * np.arange(1, 61) ** -0.5
    part = np.repeat([0, 1], [400, 40])
    subject = whole(x, part=part, n_parts=2, neighbours=None)
    found = values_of(subject, "rank_me", Settings(replicates=0))
    large, small = found["rank_me", (0,), ""], found["rank_me", (1,), ""]
    assert large.value > small.value + 10
    assert small.matched_value == pytest.approx(small.value)
    assert large.matched_low <= small.value <= large.matched_high


def test_neighbours_give_the_formulas(made):
    subject = subject_of(made)
    settings = Settings(replicates=0, matched=0, numbers={"mle_k": 4})
    found = values_of(subject, ["two_nn", "two_nn_ml", "mle_dimension"], settings)
    part = made["y"] * 2 + made["a"]
    distance = distances_within(made["x"], part, 4)
    for p in range(6):
        own = distance[part == p]
        ratio = np.sort(own[:, 1] / own[:, 0])
        n = len(ratio)
        kept = int(0.9 * n)
        x, f = np.log(ratio[:kept]), np.arange(1, kept + 1) / n
        coefficient = np.linalg.lstsq(x[:, None], -np.log(1 - f), rcond=None)[0][0]
        assert found["two_nn", (p,), ""].value == pytest.approx(coefficient)
        assert found["two_nn_ml", (p,), ""].value == pytest.approx((n - 1) / np.log(ratio).sum())
        local = [np.mean(np.log(row[3] / row[:3])) for row in own]
        assert found["mle_dimension", (p,), ""].value == pytest.approx(1 / np.mean(local))


def test_a_subspace_has_its_dimension():
    """A 3-dimensional cube in 10 dimensions; near its border the maximum likelihood is too low."""
    rng = np.random.default_rng(4)
    x = rng.random((800, 3)) @ np.linalg.qr(rng.standard_normal((10, 10)))[0][:3]
    found = values_of(whole(x), ["two_nn", "two_nn_ml", "mle_dimension"], Settings(replicates=40, matched=0))
    for id in ("two_nn", "two_nn_ml", "mle_dimension"):
        one = found[id, (0,), ""]
        assert one.value == pytest.approx(3, rel=0.12)
        assert one.low < one.value < one.high


def test_equal_rows_are_left_out_and_counted():
    x = np.random.default_rng(5).standard_normal((60, 3))
    x[:4] = x[4:8]
    one = values_of(whole(x), "two_nn")["two_nn", (0,), ""]
    assert one.n == 52
    assert one.note == "8 rows with an equal row are left out"
    flat = values_of(whole(np.ones((9, 3))), "two_nn")["two_nn", (0,), ""]
    assert math.isnan(flat.value)
    assert flat.note


def test_few_rows_say_how_many_are_needed(made):
    few = whole(made["x"][:10])
    assert number(few, "two_nn", (0,)) > 0
    assert values_of(few, "mle_dimension")["mle_dimension", (0,), ""].note == "needs 21 rows"
    assert values_of(whole(made["x"][:2]), "two_nn_ml")["two_nn_ml", (0,), ""].note == "needs 3 rows"


def test_matched_distances_are_within_the_draw(made):
    """Half of the rows have other neighbours than all rows."""
    one = values_of(subject_of(made), "two_nn_ml", Settings(replicates=0, seed=4))["two_nn_ml", (0,), ""]
    part = made["y"] * 2 + made["a"]
    own, smallest, each = np.flatnonzero(part == 0), np.bincount(part).min(), []
    for index in range(200):
        rows = own[np.sort(np.random.default_rng([4, 1, 0, index]).choice(own.size, smallest, replace=False))]
        distance = distances_within(made["x"][rows], np.zeros(smallest), 2)
        each.append((smallest - 1) / np.log(distance[:, 1] / distance[:, 0]).sum())
    assert one.matched_value == pytest.approx(np.median(each), rel=1e-6)
