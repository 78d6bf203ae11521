"""Panels beside scikit-learn's metrics, formulas computed naively, and the traps of published code."""

import doctest
import importlib
import math
import pkgutil
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import fisher_exact
from sklearn import metrics as oracle

import penult_kernels.panels
from penult_kernels.panels.calibration import errors
from penult_kernels.panels.exact import against_the_rest
from penult_kernels.panels.panel import ALL, Part, PartKind, Scored
from penult_kernels.panels.registry import PANELS, panel_values

N = 400


def scored(seed=0, k=2, n_attributes=2, n=N, **changes):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    a = np.where(rng.random(n) < 0.7, y % n_attributes, rng.integers(0, n_attributes, n))
    logits = rng.standard_normal((n, k))
    logits[np.arange(n), y] += 1.2 + 0.8 * (a == y % n_attributes)
    return Scored(**{"logits": logits, "y": y, "g": y * n_attributes + a, "n_groups": k * n_attributes} | changes)


def held_out(seed=1, **changes):
    return scored(seed, **changes)


def values(rows, name):
    """By id and part; every one is finite or says why not."""
    found = {}
    for panel, one in panel_values(rows, [name]):
        assert panel == name
        assert math.isfinite(one.value) or one.note, one
        assert one.id in {definition.id for definition in PANELS[name].definitions}
        assert not one.low > one.high
        found[one.id, one.part] = one
    return found


def by(kind, index):
    return Part(PartKind(kind), index)


def test_every_panel_runs_its_formula():
    for module in pkgutil.iter_modules(penult_kernels.panels.__path__, "penult_kernels.panels."):
        assert doctest.testmod(importlib.import_module(module.name)).failed == 0, module.name
    ids = [one.id for panel in PANELS.values() for one in panel.definitions]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("k", [2, 3])
def test_subpop_is_scikit_learn_s(k):
    rows = scored(k=k)
    found, y, predicted = values(rows, "subpop"), rows.y, rows.logits.argmax(axis=1)
    p = softmax(rows.logits, axis=1)
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(y, predicted, zero_division=np.nan)
    for c in range(k):
        assert found["precision", by("class", c)].value == pytest.approx(precision[c])
        assert found["recall", by("class", c)].value == pytest.approx(recall[c])
        assert found["f1", by("class", c)].value == pytest.approx(f1[c])
    assert found["f1", ALL].value == pytest.approx(oracle.f1_score(y, predicted, average="macro"))
    area = oracle.roc_auc_score(y, p[:, 1]) if k == 2 else oracle.roc_auc_score(y, p, multi_class="ovr")
    assert found["auroc", ALL].value == pytest.approx(area)
    each = [oracle.average_precision_score(y == c, p[:, c]) for c in range(k)]
    assert found["auprc", ALL].value == pytest.approx(each[1] if k == 2 else np.mean(each))
    groups = [np.mean(predicted[rows.g == g] == y[rows.g == g]) for g in range(2 * k)]
    assert found["adjusted_accuracy", ALL].value == pytest.approx(np.mean(groups))
    assert found["worst_group_accuracy", ALL].value == pytest.approx(min(groups))
    inside = rows.a == 1
    own = oracle.precision_recall_fscore_support(y[inside], predicted[inside], average="macro", zero_division=np.nan)
    assert found["recall", by("attribute", 1)].value == pytest.approx(own[1])
    if k == 2:
        brier = oracle.brier_score_loss(y[inside], p[inside, 1])
        assert found["brier", by("attribute", 1)].value == pytest.approx(brier)


def test_a_group_has_no_rates_that_one_class_does_not_define():
    """SubpopBench sets its false positive rate to 1."""
    found = values(scored(), "subpop")
    assert not [id for id, part in found if part.kind is PartKind.GROUP and id in ("precision", "recall", "auroc")]
    one_class = scored(y=np.zeros(N, int), g=np.arange(N) % 2, n=N)
    assert "one class only" in values(one_class, "subpop")["auroc", ALL].note


def test_fairness_is_of_counts_and_knows_chouldechova_s_identity():
    rows = scored()
    found, predicted = values(rows, "fairness"), rows.logits.argmax(axis=1)
    rates = {}
    for value in range(2):
        y, chosen = rows.y[rows.a == value], predicted[rows.a == value]
        (tn, fp), (fn, tp) = oracle.confusion_matrix(y, chosen)
        part = by("attribute", value)
        expected = {
            "selection_rate": (tp + fp) / len(y),
            "true_positive_rate": tp / (tp + fn),
            "false_positive_rate": fp / (fp + tn),
            "false_negative_rate": fn / (tp + fn),
            "positive_predictive_value": tp / (tp + fp),
            "false_omission_rate": fn / (fn + tn),
        }
        for id, rate in expected.items():
            assert found[id, part].value == pytest.approx(rate)
            rates.setdefault(id, []).append(rate)
        base = y.mean()
        identity = base / (1 - base) * (1 - expected["positive_predictive_value"])
        identity *= (1 - expected["false_negative_rate"]) / expected["positive_predictive_value"]
        assert found["false_positive_rate", part].value == pytest.approx(identity)
    for id, (first, second) in rates.items():
        assert found[f"{id}_difference", ALL].value == pytest.approx(abs(first - second))
        assert found[f"{id}_ratio", ALL].value == pytest.approx(min(first, second) / max(first, second))
    gaps = [abs(np.subtract(*rates[f"{id}_positive_rate"])) for id in ("true", "false")]
    assert found["equalized_odds_difference", ALL].value == pytest.approx(max(gaps))


def test_gaps_to_all_rows_and_over_combinations():
    """As fairlearn's MetricFrame has them: difference and ratio "to_overall", and two sensitive features."""
    rng = np.random.default_rng(5)
    rows = scored(masks=np.stack([rng.random(N) < 0.4, np.arange(N) < 6]))
    found, chosen = values(rows, "fairness"), rows.logits.argmax(axis=1)
    rate = [chosen[rows.a == value].mean() for value in range(2)]
    whole = chosen.mean()
    assert found["selection_rate_difference_to_overall", ALL].value == pytest.approx(max(abs(rate - whole)))
    smaller = [min(one / whole, whole / one) for one in rate]
    assert found["selection_rate_ratio_to_overall", ALL].value == pytest.approx(min(smaller))
    cells = [
        (rows.a == a) & (rows.masks[0] == m) & (rows.masks[1] == k) for a in (0, 1) for m in (0, 1) for k in (0, 1)
    ]
    each = [chosen[one].mean() for one in cells if one.sum() >= 10]
    one = found["selection_rate_intersection_difference", ALL]
    assert one.value == pytest.approx(max(each) - min(each))
    assert one.note.startswith(f"of {len(each)} combinations")
    assert "no masks" in values(scored(), "fairness")["selection_rate_intersection_difference", ALL].note


def test_p_values_are_fisher_s_after_holm():
    rows = scored(n_attributes=3)
    found, right = values(rows, "subpop"), rows.logits.argmax(axis=1) == rows.y
    raw = []
    for g in range(6):
        own, others = right[rows.g == g], right[rows.g != g]
        raw.append(fisher_exact([[own.sum(), (~own).sum()], [others.sum(), (~others).sum()]])[1])
    expected = after_holm(raw)
    for g in range(6):
        assert found["accuracy", by("group", g)].p == pytest.approx(expected[g], rel=1e-6)
    assert math.isnan(found["accuracy", ALL].p)
    # Where nothing differs, one in twenty is below .05 at most.
    rng, low = np.random.default_rng(0), 0
    for _ in range(200):
        counts = [(int(rng.binomial(60, 0.7)), 60) for _ in range(4)]
        low += bool((against_the_rest(counts) < 0.05).any())
    assert low <= 18


def after_holm(p):
    """Holm's adjustment, naively."""
    order, m = np.argsort(p), len(p)
    return {int(i): min(1, max((m - j) * p[order[j]] for j in range(k + 1))) for k, i in enumerate(order)}


def test_wilds_counts_a_row_in_each_of_its_masks():
    rng = np.random.default_rng(6)
    masks = np.concatenate([rng.random((7, N)) < 0.2, np.zeros((1, N), bool)])
    rows = scored(masks=masks, n_attributes=4)
    found, right = values(rows, "wilds"), rows.logits.argmax(axis=1) == rows.y
    each = {(m, c): right[masks[m] & (rows.y == c)] for m in range(8) for c in range(2)}
    assert len([key for key in found if key[0] == "marked_accuracy"]) == 16
    for (m, c), inside in each.items():
        one = found["marked_accuracy", by("mask and class", 2 * m + c)]
        assert one.n == inside.size
        assert inside.size == 0 or one.value == pytest.approx(inside.mean())
    worst = min(inside.mean() for inside in each.values() if inside.size)
    assert found["worst_marked_accuracy", ALL].value == pytest.approx(worst)
    regions = [right[rows.a == a].mean() for a in range(4)]
    assert found["worst_value_accuracy", ALL].value == pytest.approx(min(regions))
    assert found["tenth_percentile_accuracy", ALL].value == pytest.approx(np.percentile(regions, 10))
    macro = oracle.f1_score(rows.y, rows.logits.argmax(axis=1), average="macro")
    assert found["macro_f1", ALL].value == pytest.approx(macro)
    assert "no masks" in values(scored(), "wilds")["marked_accuracy", ALL].note


def test_newcombe_s_interval_is_his_example():
    """Newcombe 1998, table II: 56/70 against 48/80 has .0524 to .3339."""
    from penult_kernels.panels.fairness import gap

    difference, low, high, _, _ = gap([(56, 70), (48, 80)])
    assert difference == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=2e-4)


def test_fairness_without_an_attribute_or_of_three_classes_says_so():
    assert "attribute" in values(scored(n_attributes=1), "fairness")["selection_rate", ALL].note
    assert "two classes" in values(scored(k=3), "fairness")["selection_rate", ALL].note
    empty = scored(g=np.zeros(N, int) + 0, y=np.zeros(N, int))
    assert "fewer than two" in values(empty, "fairness")["true_positive_rate_difference", ALL].note


@pytest.mark.parametrize("with_masks", [True, False])
def test_unintended_bias_is_of_areas_in_and_outside_of_identities(with_masks):
    rng = np.random.default_rng(3)
    masks = np.stack([rng.random(N) < 0.3, rng.random(N) < 0.2, np.arange(N) < 1]) if with_masks else None
    rows = scored(masks=masks)
    found, score, y = values(rows, "unintended_bias"), np.subtract(*rows.logits.T[::-1]), rows.y
    means = {"subgroup_auc": [], "bpsn_auc": [], "bnsp_auc": []}
    identities = [rows.a == value for value in range(2)] if masks is None else masks[:2]
    for index, inside in enumerate(identities):
        part = by("attribute" if masks is None else "mask", index)
        for id, used in {
            "subgroup_auc": inside,
            "bpsn_auc": (inside & (y == 0)) | (~inside & (y == 1)),
            "bnsp_auc": (inside & (y == 1)) | (~inside & (y == 0)),
        }.items():
            means[id].append(oracle.roc_auc_score(y[used], score[used]))
            assert found[id, part].value == pytest.approx(means[id][-1])
    total = oracle.roc_auc_score(y, score)
    for id, each in means.items():
        power = np.mean(np.array(each) ** -5.0) ** (-1 / 5)
        assert found[f"{id}_mean", ALL].value == pytest.approx(power)
        total += power
    assert found["unintended_bias_score", ALL].value == pytest.approx(total / 4)
    if with_masks:
        assert found["subgroup_auc_mean", ALL].note.startswith("1 of 3 identities are left out")
        assert math.isnan(found["subgroup_auc", by("mask", 2)].value)


def test_delong_s_interval_is_that_of_repeated_samples():
    from penult_kernels.panels.areas import area

    rng = np.random.default_rng(4)
    each = np.array([area(rng.standard_normal(80) + 1, rng.standard_normal(120)) for _ in range(300)])
    assert np.mean((each[:, 2] - each[:, 1]) / 3.92) == pytest.approx(each[:, 0].std(), rel=0.15)


def test_calibration_has_the_null_of_a_calibrated_head_at_that_n():
    """Errors fall with n where nothing is wrong, as the null does; an overconfident head is beyond it."""
    rng = np.random.default_rng(5)

    def drawn(n, scale):
        logits = rng.standard_normal((n, 2)) * 1.5
        y = (rng.random(n) < softmax(logits, axis=1)[:, 1]).astype(int)
        return Scored(logits=logits * scale, y=y, g=y, n_groups=2)

    few, many = (values(drawn(n, 1), "calibration")["calibration_error", ALL] for n in (56, 2255))
    assert few.null > 4 * many.null
    for n, one in ((56, few), (2255, many)):
        each = [errors(rows.p, rows.y)[0] for rows in (drawn(n, 1) for _ in range(100))]
        assert one.null == pytest.approx(np.mean(each), rel=0.1)
        assert one.null_low * 0.8 < one.value < one.null_high * 1.2
    sure = values(drawn(2255, 3), "calibration")
    assert sure["calibration_error", ALL].value > sure["calibration_error", ALL].null_high
    assert sure["temperature", ALL].value == pytest.approx(3, rel=0.15)


def test_calibration_errors_are_sums_over_bins():
    rows = scored(k=3)
    found, p = values(rows, "calibration"), softmax(rows.logits, axis=1)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == rows.y
    edges = np.linspace(0, 1, 16)
    equal = [(confidence > low) & (confidence <= high) for low, high in pairwise(edges)]
    gaps = [abs(right[one].mean() - confidence[one].mean()) for one in equal if one.any()]
    sizes = [one.sum() / N for one in equal if one.any()]
    assert found["calibration_error", ALL].value == pytest.approx(np.dot(gaps, sizes))
    assert found["largest_calibration_error", ALL].value == pytest.approx(max(gaps))
    order = np.array_split(np.argsort(confidence, kind="stable"), 15)
    adaptive = sum(len(one) / N * abs(right[one].mean() - confidence[one].mean()) for one in order)
    assert found["adaptive_calibration_error", ALL].value == pytest.approx(adaptive, abs=0.01)


def test_the_temperature_is_of_least_loss():
    rows = scored(k=3, seed=6)
    t = values(rows, "calibration")["temperature", ALL].value

    def loss(value):
        return -np.mean(log_softmax(rows.logits / value, axis=1)[np.arange(N), rows.y])

    assert loss(t) <= min(loss(t * 1.01), loss(t / 1.01))
    separable = Scored(logits=np.eye(2)[[0, 1]] * 5, y=np.array([0, 1]), g=np.array([0, 1]), n_groups=2)
    assert "no minimum" in values(separable, "calibration")["temperature", ALL].note


def test_conformal_sets_cover_and_are_counted():
    rng, found = np.random.default_rng(7), []
    for _ in range(30):
        seeds = rng.integers(10**6, size=2)
        rows = scored(int(seeds[0]), k=4, calibration=held_out(int(seeds[1]), k=4))
        one = values(rows, "conformal")
        found.append(one["coverage", ALL].value)
        assert one["coverage", ALL].null == 0.9
    assert np.mean(found) == pytest.approx(0.9, abs=0.01)
    p, held = rows.p, rows.calibration
    scores = np.sort(1 - held.p[np.arange(N), held.y])
    q = scores[math.ceil(401 * 0.9) - 1]
    assert one["set_size", ALL].value == pytest.approx(np.mean(np.sum(1 - p <= q, axis=1)))
    own = np.sort((1 - held.p[np.arange(N), held.y])[held.a == 1])
    q = own[math.ceil((own.size + 1) * 0.9) - 1]
    inside = rows.a == 1
    expected = np.mean(1 - p[np.arange(N), rows.y][inside] <= q)
    assert one["mondrian_coverage", by("attribute", 1)].value == pytest.approx(expected)
    few = scored(k=4, calibration=held_out(2, k=4, n=5))
    assert values(few, "conformal")["set_size", ALL].value == 4


def test_thresholds_help_the_worst_group_where_the_prior_has_moved():
    """A head fitted where class 1 is rare."""
    rng = np.random.default_rng(8)

    def drawn(n, rare):
        y = (rng.random(n) < rare).astype(int)
        x = rng.standard_normal(n) + 2 * y
        logits = np.column_stack([np.zeros(n), 2 * x - 2 + math.log(0.05 / 0.95)])
        return {"logits": logits, "y": y, "g": y, "n_groups": 2}

    rows = Scored(**drawn(3000, 0.5), calibration=Scored(**drawn(3000, 0.05)))
    found = values(rows, "threshold")
    assert found["prior_corrected_worst_group", ALL].value > found["plain_worst_group", ALL].value + 0.2
    assert found["tuned_worst_group", ALL].value > found["plain_worst_group", ALL].value + 0.2
    share = np.bincount(rows.calibration.y) / 3000
    right = np.argmax(rows.logits - np.log(share), axis=1) == rows.y
    assert found["prior_corrected_accuracy", ALL].value == pytest.approx(right.mean())


def test_panels_that_need_calibration_rows_and_unknown_ones_are_refused():
    with pytest.raises(ValueError, match="needs calibration rows"):
        panel_values(scored(), ["conformal"])
    with pytest.raises(ValueError, match="panels are subpop, wilds, fairness"):
        panel_values(scored(), ["fairnes"])


@pytest.mark.parametrize("name", [name for name, one in PANELS.items() if not one.needs_calibration])
def test_the_order_of_rows_changes_nothing_that_is_not_drawn(name):
    rows, order = scored(n=120), np.random.default_rng(9).permutation(120)
    moved = Scored(logits=rows.logits[order], y=rows.y[order], g=rows.g[order], n_groups=4)
    first, second = values(rows, name), values(moved, name)
    for key, one in first.items():
        assert second[key].value == pytest.approx(one.value, nan_ok=True)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="groups of other classes"):
        scored(g=np.zeros(N, int) + 3)
