"""Systems beside each other: scipy, brute force and numbers of papers as oracles."""

import itertools
import math
from dataclasses import MISSING, fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from penult.calls.diagnosis.systems import ComparingSystems
from penult.errors import InvalidRequest
from penult.results.comparing.choosing import model_size, opposing_signals, selection_rules
from penult.results.comparing.comparison import MEASURES
from penult.results.comparing.groups import evenness, kemeny, mean_ranks, moon, rank_systems
from penult.results.comparing.pairs import ensemble_gain, error_inconsistency, specialisation
from penult.results.comparing.scored import Scored, scored_together
from penult.results.comparing.values import (
    holm,
    mcnemar,
    paired_difference,
    student_quantile,
    two_sided_t,
    wilson,
)
from penult.results.records import Checkpoint, Labels
from penult.results.rows.predictions import Predictions


def made(shares, seed=0, n=300):
    """Systems that are right about each of three groups with the given shares; the fourth group is empty."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, 3, n)
    y, probabilities, correct = g // 2, [], []
    for share in shares:
        right = rng.random(n) < np.asarray(share)[g]
        p = np.where(right == (y == 1), 0.8, 0.2)
        probabilities.append(np.column_stack([1 - p, p]))
        correct.append(right)
    names = tuple("abcdefghijk"[: len(shares)])
    groups = ("cat, in", "cat, out", "dog, in", "dog, out")
    return Scored(
        names=names,
        y=y,
        g=g,
        group_names=groups,
        probabilities=tuple(probabilities),
        correct=tuple(correct),
        n_left_out=0,
    )


def by_name(values, **wanted):
    found = [one for one in values if all(getattr(one, key) == value for key, value in wanted.items())]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 12), (30, 30), (200, 260)])
def test_mcnemar_is_the_exact_binomial(b, c):
    expected = stats.binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)


def test_intervals_of_papers_and_scipy():
    found = paired_difference(12, 2, 36, 50)  # Newcombe 1998 II, table II, example
    assert found == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    interval = stats.binomtest(7, 30).proportion_ci(method="wilson")
    assert wilson(7, 30) == pytest.approx((interval.low, interval.high))
    assert all(math.isnan(one) for one in paired_difference(0, 0, 0, 0))


def test_holm_as_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, math.nan, 0.03]), [0.03, 0.06, math.nan, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("m", range(1, 12))
def test_the_t_distribution(m):
    for t in (0.0, 0.3, 1.7, 6.0):
        assert two_sided_t(t, m) == pytest.approx(2 * stats.t.sf(t, m), abs=1e-12)


def test_inconsistency_and_kappa_by_counting():
    scored = made([(0.9, 0.6, 0.8), (0.7, 0.9, 0.8)])
    a, b = scored.correct
    found = list(error_inconsistency(scored))
    whole = by_name(found, name="inconsistency", part="all")
    assert whole.value == np.mean(a != b)
    assert whole.p == pytest.approx(stats.binomtest(int((a & ~b).sum()), int((a != b).sum())).pvalue)
    expected = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    assert by_name(found, name="kappa", part="all").value == pytest.approx(
        (np.mean(a == b) - expected) / (1 - expected)
    )
    assert "empty" in by_name(found, name="inconsistency", part="dog, out").note
    same = list(error_inconsistency(made([(0.5, 0.5, 0.5)] * 2)))
    assert abs(by_name(same, name="kappa", part="all").value) < 0.2  # independent


def test_what_each_does_better_stands_with_its_interval():
    found = list(specialisation(made([(0.95, 0.4, 0.8), (0.4, 0.95, 0.8)], n=900)))
    first, second, third = (by_name(found, part=name) for name in ("cat, in", "cat, out", "dog, in"))
    assert first.low > 0.4 > 0 > -0.4 > second.high
    assert third.low < 0 < third.high
    assert max(first.p, second.p) < 1e-6 < third.p


def test_together_by_hand():
    scored = made([(0.7, 0.7, 0.7)] * 5)
    right = np.mean(scored.probabilities, axis=0).argmax(axis=1) == scored.y
    found = list(ensemble_gain(scored))
    assert by_name(found, name="average_accuracy").value == right.mean() - max(one.mean() for one in scored.correct)
    assert by_name(found, name="average_accuracy").value > 0.05  # independent errors vote each other down


def test_evenness_is_blind_where_it_says_so():
    scored = made([(0.9, 0.9, 0.5)], n=3000)
    a = scored.accuracies()[0, :3]
    found = {one.name: one.value for one in evenness(scored)}
    assert found["entropy"] == pytest.approx(stats.entropy(a / a.sum()) / math.log(3))
    assert found["entropy"] > 0.95
    assert found["worst_by_mean"] == pytest.approx(a.min() / a.mean())
    assert found["atkinson"] == pytest.approx(1 - stats.gmean(a) / a.mean())
    assert found["gini"] == pytest.approx(np.abs(np.subtract.outer(a, a)).sum() / (2 * 9 * a.mean()))


def test_ranks_with_ties_and_the_exact_order():
    rng = np.random.default_rng(0)
    for trial in range(20):
        table = rng.integers(0, 4, (5, 6)).astype(float)
        expected = stats.rankdata(-table, axis=0).mean(axis=1)
        np.testing.assert_allclose(mean_ranks(table), expected)

        def cost(order, table=table):
            return sum(int((table[i] < table[j]).sum()) for i, j in itertools.combinations(order, 2))

        best = min(itertools.permutations(range(5)), key=lambda order: (cost(order), order))
        assert cost(kemeny(table)) == cost(best), trial
    clear = list(rank_systems(made([(0.5, 0.5, 0.5), (0.9, 0.9, 0.9)])))
    assert by_name(clear, name="share_first", systems=("b",)).value > 0.99
    assert by_name(clear, name="kemeny", systems=("b",)).value == 1
    tied = list(rank_systems(made([(1.0, 1.0, 1.0)] * 3)))
    assert [one.value for one in tied if one.name == "share_first"] == pytest.approx([1 / 3] * 3)
    assert [one.value for one in tied if one.name == "mean_rank"] == [2, 2, 2]


def test_a_planted_parabola_is_found_and_few_systems_are_not_enough():
    x = np.linspace(0.55, 0.98, 10)
    curved = made([(one, 0.6, 0.4 + 3 * (one - 0.75) ** 2) for one in x], n=20_000)
    found = list(moon(curved))
    assert by_name(found, name="second_coefficient").value == pytest.approx(3, rel=0.4)
    assert by_name(found, name="r2_parabola").value > 0.9
    assert by_name(found, name="r2_parabola").p < 1e-3
    few = list(moon(made([(0.5, 0.6, 0.7)] * 3)))
    assert all(math.isnan(one.value) and "at least 8" in one.note for one in few)


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_on_a_line_have_no_parabola(seed):
    """What the fits leave is rounding then, of either sign."""

    class Line(Scored):
        def accuracies(self):
            x = np.random.default_rng(seed).random(10)
            return np.column_stack([x, x / 2])

    given = made([(0.5, 0.5, 0.5)] * 10)
    line = Line(**(vars(given) | {"group_names": ("best", "worst")}))
    found = list(moon(line))
    assert by_name(found, name="r2_parabola").value == pytest.approx(1.0)
    assert by_name(found, name="second_coefficient").p == 1.0


def predictions(ids, y, seed, **changes):
    labels = Labels(
        classes=("cat", "dog"), attribute="ground", attribute_values=("in",), masks=(), classes_by_index=False
    )
    p = np.random.default_rng(seed).random((len(ids), 2))
    given = {
        "feature_set": "f", "head": "h", "labels": labels, "row_id": np.asarray(ids, np.uint64), "y": np.asarray(y),
        "a": np.zeros(len(ids), np.int64), "prediction": p.argmax(axis=1), "probabilities": p, "metrics": None,
    }  # fmt: skip
    return Predictions(**(given | changes))


def test_rows_are_joined_by_their_ids():
    first = predictions([5, 2, 9, 4], [0, 1, 1, 0], 0)
    second = predictions([4, 9, 2, 7], [0, 1, 1, 0], 1)
    scored = scored_together([first, second], ["a", "b"])
    assert scored.y.tolist() == [1, 0, 1]  # ids 2, 4, 9
    assert scored.correct[1].tolist() == second.correct[[2, 0, 1]].tolist()
    assert scored.n_left_out == 1
    for measure in MEASURES.values():
        assert list(measure(scored))
    with pytest.raises(InvalidRequest, match="other examples"):
        scored_together([first, predictions([4, 9, 2, 7], [1, 1, 1, 0], 1)], ["a", "b"])
    with pytest.raises(InvalidRequest, match="no row id"):
        scored_together([first, predictions([1], [1], 1)], ["a", "b"])


def checkpoint(digest, dataset):
    needed = [one.name for one in fields(Checkpoint) if one.default is MISSING and one.default_factory is MISSING]
    return Checkpoint(**(dict.fromkeys(needed, "") | {"digest": digest, "dataset_digest": dataset, "epoch": 1.0}))


def compared(sets):
    """What `compare` reads of the stored sets (kind, dataset) of "a" and "b", which were trained on "one"."""
    of = {
        digest: [SimpleNamespace(feature_kind=kind, dataset=name, dataset_digest=name) for kind, name in own]
        for digest, own in sets.items()
    }
    read = []

    class Systems(ComparingSystems):
        features = SimpleNamespace(list=lambda checkpoint, **_: of[checkpoint.digest])

        def predictions(self, features, **_):
            read.append((features.feature_kind, features.dataset))
            return predictions([1, 2], [0, 1], 0)

    Systems().compare([checkpoint("a", "one"), checkpoint("b", "one")], split="test", measures="evenness")
    return read


def test_what_is_compared_is_of_one_dataset_and_what_heads_read():
    """Row ids of two datasets are often the same numbers, and so may their labels be."""
    own = [("flat", "one"), ("pooled", "two"), ("pooled", "one")]
    assert compared({"a": own, "b": own[::-1]}) == [("pooled", "one")] * 2
    assert compared({"a": own[1:2], "b": own[1:2]}) == [("pooled", "two")] * 2
    with pytest.raises(InvalidRequest, match="one dataset"):
        compared({"a": own[1:2], "b": own[2:]})
    with pytest.raises(InvalidRequest, match="several datasets"):
        compared({"a": own, "b": [("pooled", "two"), ("pooled", "three")]})


def test_rules_pick_what_they_say_and_regret_is_what_that_costs():
    seen = made([(0.9, 0.9, 0.5), (0.95, 0.2, 0.95), (0.7, 0.7, 0.7)], seed=1)
    scored = replace(made([(0.9, 0.9, 0.4), (0.95, 0.9, 0.95), (0.7, 0.7, 0.7)], seed=2), selection=seen)
    found = list(selection_rules(scored))
    worst = [np.nanmin(scored.group_accuracies(one)) for one in scored.correct]
    by_worst = int(np.argmax([np.nanmin(seen.group_accuracies(one)) for one in seen.correct]))
    by_mean = int(np.argmax([one.mean() for one in seen.correct]))
    for rule, chosen in (("worst_group", by_worst), ("average", by_mean)):
        one = by_name(found, name=rule)
        assert one.systems == (scored.names[chosen],)
        assert one.value == pytest.approx(max(worst) - worst[chosen])
        assert one.low <= one.value + 0.1
        assert one.high >= one.value - 0.1
    area = [metrics.roc_auc_score(seen.y, p[:, 1]) for p in seen.probabilities]
    assert by_name(found, name="auroc").systems == (scored.names[int(np.argmax(area))],)
    oracle = by_name(selection_rules(seen), name="worst_group")
    assert oracle.value == 0
    assert "select_split" in oracle.note


def test_slopes_over_sizes_are_least_squares():
    scored = made([(s, s, s - 0.2) for s in (0.6, 0.7, 0.8, 0.85)], n=3000)
    sizes = (1e6, 1e7, 3e7, 1e8)
    one = by_name(model_size(replace(scored, sizes=sizes)), name="worst_group_gain")
    worst = [np.nanmin(scored.group_accuracies(c)) for c in scored.correct]
    fit = stats.linregress(np.log10(sizes), worst)
    assert one.value == pytest.approx(fit.slope)
    assert one.p == pytest.approx(fit.pvalue)
    assert one.high - one.value == pytest.approx(stats.t.ppf(0.975, 2) * fit.stderr, rel=1e-6)
    assert student_quantile(7) == pytest.approx(stats.t.ppf(0.975, 7))
    assert "needs sizes" in by_name(model_size(scored), name="gap_gain").note
    assert "three sizes" in by_name(model_size(replace(scored, sizes=(1e6,) * 4)), name="gap_gain").note


def test_opposing_rows_are_those_whose_losses_move_most():
    rng = np.random.default_rng(0)
    n = 2000
    y, g = np.arange(n) % 2, np.arange(n) % 4
    base = np.full(n, 0.7)
    moved = base + rng.normal(0, 0.01, n)
    up, down = np.array([4, 8]), np.array([1, 5])  # group 0 gains, group 1 loses
    moved[up], moved[down] = 0.95, 0.1
    p = [np.where(y[:, None] == np.arange(2), own[:, None], 1 - own[:, None]) for own in (base, moved)]
    scored = Scored(
        names=("a", "b"), y=y, g=g, group_names=("p", "q", "r", "s"), probabilities=tuple(p),
        correct=tuple(one.argmax(axis=1) == y for one in p), n_left_out=0,
    )  # fmt: skip
    found = list(opposing_signals(scored))
    assert by_name(found, name="rise").value == pytest.approx(np.log(0.7 / 0.1))
    assert by_name(found, name="fall").value == pytest.approx(np.log(0.7 / 0.95))
    assert by_name(found, name="rise_share", part="q").value == 1
    assert by_name(found, name="fall_share", part="p").value == 1
    assert by_name(found, name="cosine").value == pytest.approx(-1)
