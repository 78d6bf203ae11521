"""What diagnostics are asked in vain: each is answered by a sentence that says what to do, or by NaN and a reason."""

import math
import re

import numpy as np
import pytest

import penult

N, D = 60, 5


def arrays(**changes):
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    return {
        "features": (rng.standard_normal((N, D)) + y[:, None]).astype(np.float32),
        "y": y,
        "a": (np.arange(N) // 2) % 2,
        "row_id": np.arange(N, dtype=np.uint64),
        "classes": ["land", "water"],
        "attribute_values": ["field", "lake"],
    } | changes


@pytest.fixture(scope="module")
def plain(client):
    """Without a head and without logits."""
    return client.features.upload(**arrays())


@pytest.fixture(scope="module")
def others(client):
    """Sets that share no row, or only some rows, or labels, with it."""
    return {
        "other rows": client.features.upload(**arrays(row_id=np.arange(N, dtype=np.uint64) + 10_000)),
        "three classes": client.features.upload(**arrays(y=np.arange(N) % 3, classes=["land", "water", "ice"])),
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": np.where(np.eye(N, D) > 0, np.nan, 1.0).astype(np.float32)}, "finite|NaN"),
        ({"features": np.full((N, D), np.inf, np.float32)}, "finite"),
        ({"y": np.arange(N - 1) % 2}, "59"),
        ({"row_id": np.zeros(N, np.uint64)}, "row_id"),
        ({"y": np.full(N, 5)}, "y must lie in 0 .. 1, got 5"),
        ({"features": np.zeros((0, D), np.float32)}, "neither 0"),
    ],
    ids=["a row of NaN", "infinite", "a label short", "one id for all", "labels beyond", "no rows"],
)
def test_what_is_no_feature_set_never_gets_there(client, changes, said):
    with pytest.raises((penult.InvalidRequest, ValueError), match=said):
        client.features.upload(**arrays(**changes))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ids": "cdnw"}, "do you mean 'cdnv'. there is no diagnostic 'cdnw'"),
        ({"ids": []}, "ids"),
        ({"ids": 3}, "ids"),
        ({"ids": "worst_group_accuracy"}, "evaluate.*panels=..subpop"),
        ({"ids": "fairness"}, "evaluate.*panels=..fairness"),
        ({"ids": "moon"}, "moon"),
        ({"ids": "cka"}, "other is a second set"),
        ({"ids": "concat_gain"}, "other is a second set"),
        ({"ids": "cdnv", "replicates": -1}, "replicates"),
        ({"ids": "cdnv", "replicates": 2.5}, "replicates"),
        ({"ids": "cdnv", "seed": -1}, "seed"),
        ({"ids": "mle_dimension", "numbers": {"mle_kk": 3}}, "mle_k"),
        ({"ids": "mle_dimension", "numbers": {"mle_k": math.nan}}, "numbers must be finite"),
        ({"ids": "mle_dimension", "numbers": {"mle_k": -3}}, "mle_k"),
        ({"ids": "cdnv", "numbers": {"mle_k": 5}}, "mle_k"),
        ({"ids": "inductive_bias", "numbers": {"bias_error": 0}}, "bias_error"),
        ({"ids": "cdnv", "by": "colour"}, "by|colour"),
        ({"ids": "cdnv", "rows": [N + 5]}, "65"),
        ({"ids": "cdnv", "rows": []}, "row"),
    ],
)
def test_what_is_asked_wrongly_is_told(client, plain, arguments, said):
    with pytest.raises((penult.InvalidRequest, penult.NotFound), match=said):
        client.diagnose(plain, **arguments)


def test_a_second_set_must_have_the_same_examples(client, plain, others):
    with pytest.raises(penult.InvalidRequest, match="row"):
        client.diagnose(plain, "cka", other=others["other rows"])
    with pytest.raises(penult.InvalidRequest, match="other"):
        client.diagnose(plain, "cdnv", other=others["three classes"])


@pytest.mark.parametrize(
    ("changes", "id", "said"),
    [
        ({}, "nc3_duality", "needs a head of these features: extract them"),
        ({}, "gradient_coherence", "needs logits|needs a head|needs stored logits"),
        ({}, "reliance", "needs a head of these features: extract them"),
        ({}, "nc2_etf", "two"),
        ({"y": np.zeros(N, int)}, "nc1_pinv", "two"),
        ({"y": np.zeros(N, int)}, "inductive_bias_bits", "two classes"),
        ({"y": np.zeros(N, int)}, "decodability_bits", "fewer than two values"),
        ({"a": np.zeros(N, int), "attribute_values": ["field"]}, "cue_preference", "needs|values"),
        ({"features": np.ones((N, D), np.float32)}, "inductive_bias_bits", "do not vary"),
        ({"features": np.zeros((N, D), np.float32)}, "uniformity", "."),
        ({"features": np.ones((N, D), np.float32)}, "two_nn", "."),
    ],
)
def test_what_is_not_defined_is_nan_and_says_why(client, changes, id, said):
    one = client.features.upload(**arrays(**changes))
    found = client.diagnose(one, id, by="class", replicates=20)
    told = [value.note for value in found.values if math.isnan(value.value)]
    assert told
    assert any(note and re.search(said, note) for note in told), told


def test_a_group_of_one_row_has_no_spread(client):
    a = np.zeros(N, int)
    a[0] = 1
    one = client.features.upload(**arrays(a=a))
    found = client.diagnose(one, ["two_nn", "rank_me", "decodability", "separation"], replicates=20)
    assert found.value("two_nn", "land, lake").note
    assert all(math.isfinite(value.value) or value.note for value in found.values)
