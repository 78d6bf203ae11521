"""Merging rules against plain NumPy on toy networks, and what must hold for every rule."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from penult_kernels.arrays import to_host
from penult_kernels.weight_space.barriers import barrier
from penult_kernels.weight_space.blocks import block_of, blocks_of
from penult_kernels.weight_space.greedy import greedy_steps
from penult_kernels.weight_space.magnitudes import RankedMagnitude
from penult_kernels.weight_space.piece import Asked, Piece
from penult_kernels.weight_space.registry import RULES
from penult_kernels.weight_space.resampled import resampled_scores
from penult_kernels.weight_space.streaming import merged_pieces
from penult_proto.merge_methods import METHODS

SHAPES = {"stem.weight": (7,), "blocks.0.conv.weight": (40, 9), "blocks.1.conv.weight": (33,), "head.weight": (1,)}
NUMBERS = {
    "wise": {"t": 0.3},
    "task_arithmetic": {"scale": 0.4},
    "ties": {"density": 0.2, "scale": 0.7},
    "ties_per_tensor": {"density": 0.2, "scale": 0.7},
    "dare": {"density": 0.5, "scale": 1.0},
    "breadcrumbs": {"smallest": 0.6, "largest": 0.05, "scale": 0.3},
    "slerp": {"t": 0.3, "per_tensor": 0.0},
    "regmean": {"alpha": 0.9},
}
COUNTS = {"wise": 1, "slerp": 2}
AVERAGES = ("uniform", "trajectory", "greedy", "variance_corrected", "slerp", "fisher", "regmean")
"""Rules that need no base."""


def networks(n: int, seed: int = 0, spread: float = 0.1) -> tuple[dict, list[dict]]:
    rng = np.random.default_rng(seed)
    base = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    shared = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    parents = []
    for _ in range(n):
        step = {name: shared[name] + rng.standard_normal(shape) for name, shape in SHAPES.items()}
        parents.append({name: (base[name] + spread * step[name]).astype(np.float32) for name in SHAPES})
    return base, parents


def merged(
    method: str, base: dict | None, parents: list[dict], *, step: int = 50, ids=None, xp=None, **asked
) -> tuple[dict, dict]:
    """Every tensor merged in float64, in pieces of `step`; and the factors of the rule."""
    to = xp.array if xp else np.asarray
    names = ids or tuple(f"{index:02d}" for index in range(len(parents)))
    numbers = asked.pop("numbers", NUMBERS.get(method, {}))
    importance = asked.pop("importance", [fisher_of(index) for index in range(len(parents))])
    asked.setdefault("grams", lambda name, index: gram_of(name, index, to))
    rule = RULES[method](Asked(ids=names, numbers=numbers, **asked))

    def pieces(name: str):
        flat = [one[name].reshape(-1) for one in parents]
        start = None if base is None else base[name].reshape(-1)
        for first in range(0, flat[0].size, step):
            part = slice(first, first + step)
            yield Piece(
                name=name,
                start=first,
                size=flat[0].size,
                parents=[to(one[part]) for one in flat],
                base=None if start is None else to(start[part]),
                importance=[to(one[name].reshape(-1)[part]) for one in importance] if method == "fisher" else (),
            )

    found: dict[str, list] = {name: [] for name in SHAPES}
    for piece, values in merged_pieces(rule, sorted(SHAPES), pieces):
        found[piece.name].append(to_host(values))
    return {name: np.concatenate(parts).reshape(SHAPES[name]) for name, parts in found.items()}, rule.factors()


def fisher_of(index: int) -> dict:
    rng = np.random.default_rng(100 + index)
    return {name: rng.random(shape).astype(np.float32) ** 4 for name, shape in SHAPES.items()}


def inputs_of(index: int) -> np.ndarray:
    return np.random.default_rng(200 + index).standard_normal((30, 9))


def gram_of(name: str, index: int, to):
    """Of the one layer that is linear."""
    return to(inputs_of(index).T @ inputs_of(index)) if name == "blocks.0.conv.weight" else None


def flat(state: dict) -> np.ndarray:
    return np.concatenate([state[name].reshape(-1).astype(np.float64) for name in sorted(SHAPES)])


def deltas(base: dict, parents: list[dict]) -> np.ndarray:
    return np.stack([flat(one) - flat(base) for one in parents])


def needs(method: str, base: dict) -> dict | None:
    return None if method in AVERAGES else base


def test_the_list_of_methods_is_the_list_of_rules():
    assert set(RULES) <= set(METHODS)
    assert all(METHODS[name].needs_base is (name not in AVERAGES) for name in RULES)


def test_the_mean_is_that_of_torch():
    _, parents = networks(3)
    average = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(9, 40, bias=False))
    for one in parents:
        model = torch.nn.Linear(9, 40, bias=False)
        model.weight.data = torch.from_numpy(one["blocks.0.conv.weight"])
        average.update_parameters(model)
    found, _ = merged("uniform", None, parents)
    np.testing.assert_allclose(found["blocks.0.conv.weight"], average.module.weight.detach().numpy(), rtol=0, atol=1e-6)


def test_shares_weigh_and_a_point_of_the_line_is_their_sum():
    base, parents = networks(2)
    found, _ = merged("uniform", None, parents, shares=(0.25, 0.75))
    np.testing.assert_allclose(flat(found), 0.25 * flat(parents[0]) + 0.75 * flat(parents[1]), rtol=1e-14)
    on_line, _ = merged("wise", base, parents[:1])
    np.testing.assert_allclose(flat(on_line), 0.7 * flat(base) + 0.3 * flat(parents[0]), rtol=1e-14)


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_the_ends_of_the_line_are_the_networks(t: float):
    base, (one,) = networks(1)
    found, _ = merged("wise", base, [one], numbers={"t": t})
    assert np.array_equal(flat(found), flat(one if t else base))


def test_task_arithmetic_moves_the_start_by_the_sum():
    base, parents = networks(3)
    found, _ = merged("task_arithmetic", base, parents)
    np.testing.assert_allclose(flat(found), flat(base) + 0.4 * deltas(base, parents).sum(0), rtol=1e-13)


def published_ties(tau: np.ndarray, density: float, scale: float) -> np.ndarray:
    """What the steps of the paper's notebook add to the start: task vectors (K, N), by a sort."""
    size = np.abs(tau).astype(np.float32)
    threshold = np.sort(size, axis=1)[:, -int(density * tau.shape[1])]
    kept = np.where(size >= threshold[:, None], tau, 0)
    sign = np.sign(kept.sum(0))
    sign[sign == 0] = np.sign(sign.sum())
    agrees = kept * sign > 0
    return scale * (kept * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


def test_ties_is_the_published_one_over_the_whole_vector():
    base, parents = networks(3)
    found, _ = merged("ties", base, parents)
    expected = flat(base) + published_ties(deltas(base, parents), 0.2, 0.7)
    np.testing.assert_allclose(flat(found), expected, rtol=1e-13)


def test_ties_by_tensor_is_the_published_one_of_each_tensor_and_another_method():
    base, parents = networks(3)
    found, _ = merged("ties_per_tensor", base, parents)
    whole, _ = merged("ties", base, parents)
    assert not np.allclose(flat(found), flat(whole))
    name = "blocks.0.conv.weight"
    tau = np.stack([(one[name].astype(np.float64) - base[name]).reshape(-1) for one in parents])
    expected = published_ties(tau, 0.2, 0.7)
    np.testing.assert_allclose(found[name].reshape(-1) - base[name].reshape(-1), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_kept", [1, 2, 10, 399, 400])
def test_the_counted_threshold_is_that_of_a_sort(n_kept: int):
    rng = np.random.default_rng(n_kept)
    values = np.abs(rng.standard_normal(400) * 10.0 ** rng.integers(-30, 30, 400)).astype(np.float32)
    values[::7] = values[3]  # equal ones
    values[5] = 0
    found = RankedMagnitude()
    for part in np.array_split(values, 6):
        found.count_upper(part)
    found.choose(n_kept)
    for part in np.array_split(values, 6):
        found.count_lower(part)
    assert found.value() == np.sort(values)[-n_kept]


def test_a_rank_that_no_entry_has_is_refused():
    found = RankedMagnitude()
    found.count_upper(np.ones(3, dtype=np.float32))
    with pytest.raises(ValueError, match=r"1 \.\.\. 3"):
        found.choose(4)


def test_dropped_entries_are_made_up_for_on_average():
    base, parents = networks(2)
    runs = [flat(merged("dare", base, parents, seed=seed)[0]) for seed in range(100)]
    expected = flat(base) + deltas(base, parents).mean(0)
    error = (np.mean(runs, axis=0) - expected) / (np.std(runs, axis=0) / math.sqrt(100) + 1e-12)
    assert np.abs(error).max() < 5
    assert np.array_equal(runs[0], flat(merged("dare", base, parents, seed=0, step=13)[0]))
    assert not np.array_equal(runs[0], runs[1])


def test_breadcrumbs_leaves_the_ends_out():
    base, parents = networks(2)
    found, _ = merged("breadcrumbs", base, parents)
    name = "blocks.0.conv.weight"
    expected = np.zeros(360)
    for one in parents:
        tau = (one[name].astype(np.float64) - base[name]).reshape(-1)
        order = np.argsort(np.abs(tau))
        kept = order[int(0.6 * 360) : 360 - int(0.05 * 360)]
        expected[kept] += tau[kept]
    np.testing.assert_allclose(found[name].reshape(-1), base[name].reshape(-1) + 0.3 * expected, rtol=1e-12)


def test_breadcrumbs_keeps_something_of_a_small_tensor():
    base, (one,) = networks(1)
    found, _ = merged("breadcrumbs", base, [one], numbers={"smallest": 0.85, "largest": 0.01, "scale": 1.0})
    assert np.array_equal(found["head.weight"].astype(np.float32), one["head.weight"])
    assert (found["stem.weight"] != base["stem.weight"]).any()


@pytest.mark.parametrize("angle", [0.1, 1.0, math.pi / 2, 2.5])
def test_model_stock_of_two_is_the_published_ratio_clamped(angle: float):
    base = {name: np.zeros(shape, dtype=np.float32) for name, shape in SHAPES.items()}
    rng = np.random.default_rng(0)
    parents = [{name: value.copy() for name, value in base.items()} for _ in range(2)]
    u, v = np.linalg.qr(rng.standard_normal((360, 2)))[0].T
    for one, direction in zip(parents, (u, math.cos(angle) * u + math.sin(angle) * v), strict=True):
        one["blocks.0.conv.weight"] = direction.astype(np.float32).reshape(40, 9)
    found, factors = merged("model_stock", base, parents)
    t = 2 * math.cos(angle) / (1 + math.cos(angle)) if angle < math.pi / 2 else 0.0
    assert factors["t_most"] == pytest.approx(t, abs=1e-6)
    expected = t * (parents[0]["blocks.0.conv.weight"] + parents[1]["blocks.0.conv.weight"]) / 2
    np.testing.assert_allclose(found["blocks.0.conv.weight"], expected, atol=1e-6)


def test_slerp_keeps_the_norm_and_ends_at_the_networks():
    _, (a, b) = networks(2, spread=2.0)
    scaled = {
        name: (value * np.float32(np.linalg.norm(flat(a)) / np.linalg.norm(flat(b)))) for name, value in b.items()
    }
    middle, factors = merged("slerp", None, [a, scaled], numbers={"t": 0.5, "per_tensor": 0.0})
    assert np.linalg.norm(flat(middle)) == pytest.approx(np.linalg.norm(flat(a)), rel=1e-6)
    cosine = flat(a) @ flat(scaled) / np.linalg.norm(flat(a)) / np.linalg.norm(flat(scaled))
    assert factors["angle_most"] == pytest.approx(math.acos(cosine), rel=1e-9)
    for t, end in ((0.0, a), (1.0, b)):
        assert np.array_equal(flat(merged("slerp", None, [a, b], numbers={"t": t, "per_tensor": 1.0})[0]), flat(end))


def test_parallel_networks_are_interpolated_linearly():
    _, (a,) = networks(1)
    twice = {name: 2 * value for name, value in a.items()}
    found, _ = merged("slerp", None, [a, twice], numbers={"t": 0.5, "per_tensor": 0.0})
    np.testing.assert_allclose(flat(found), 1.5 * flat(a), rtol=1e-12)


def test_the_variance_of_independent_networks_comes_back():
    rng = np.random.default_rng(1)
    parents = [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()} for _ in range(5)
    ]
    found, factors = merged("variance_corrected", None, parents)
    name = "blocks.0.conv.weight"
    wanted = np.mean([one[name].astype(np.float64).var() for one in parents])
    assert found[name].var() == pytest.approx(wanted, rel=1e-6)
    assert found[name].mean() == pytest.approx(np.mean([one[name] for one in parents]), rel=1e-5)
    assert factors["factor_most"] > 2
    alike = networks(5, spread=0.01)[1]
    assert merged("variance_corrected", None, alike)[1]["factor_most"] == pytest.approx(1, abs=0.02)


def test_fisher_is_the_weighted_mean_and_the_plain_one_where_nothing_matters():
    _, parents = networks(3)
    importance = [fisher_of(index) for index in range(3)]
    for one in importance:
        one["stem.weight"][:4] = 0
    found, factors = merged("fisher", None, parents, importance=importance, shares=(0.5, 0.2, 0.3))
    weight = np.stack([flat(one) / np.linalg.norm(flat(one)) for one in importance])
    weight *= np.array([0.5, 0.2, 0.3])[:, None]
    theta = np.stack([flat(one) for one in parents])
    expected = (weight * theta).sum(0) / np.where(weight.sum(0) > 0, weight.sum(0), 1)
    plain = weight.sum(0) == 0
    expected[plain] = np.array([0.5, 0.2, 0.3]) @ theta[:, plain]
    np.testing.assert_allclose(flat(found), expected, rtol=1e-12)
    assert factors["plain_mean_fraction"] == pytest.approx(plain.mean()) == pytest.approx(4 / len(plain))
    with pytest.raises(ValueError, match="importance of 0 networks of 3"):
        merged("fisher", None, parents, importance=[])


def test_regmean_is_least_squares_on_the_rows_that_each_layer_read():
    _, parents = networks(3, spread=2.0)
    name = "blocks.0.conv.weight"
    found, factors = merged("regmean", None, parents, numbers={"alpha": 1.0}, step=50)
    rows = np.concatenate([inputs_of(index) for index in range(3)])
    outputs = np.concatenate([inputs_of(index) @ one[name].T.astype(np.float64) for index, one in enumerate(parents)])
    expected = np.linalg.lstsq(rows, outputs, rcond=None)[0].T
    np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
    others = [one for one in SHAPES if one != name]
    for other in others:
        np.testing.assert_allclose(found[other], np.mean([one[other] for one in parents], axis=0, dtype=np.float64))
    assert factors == {"tensors_solved": 1.0, "tensors_averaged": len(others)}


def test_regmean_of_equal_rows_is_the_mean_and_of_none_too():
    _, parents = networks(3)
    name = "blocks.0.conv.weight"
    mean = np.mean([one[name] for one in parents], axis=0, dtype=np.float64)
    for gram in (inputs_of(0).T @ inputs_of(0), np.zeros((9, 9)), np.eye(9)):
        found, _ = merged("regmean", None, parents, grams=lambda one, _, gram=gram: gram if one == name else None)
        np.testing.assert_allclose(found[name], mean, rtol=1e-9)
    few = inputs_of(0)[:3]  # fewer rows than columns: the plain mean where no row looks
    found, _ = merged("regmean", None, parents, grams=lambda one, _: few.T @ few if one == name else None)
    np.testing.assert_allclose(found[name], mean, rtol=1e-6)
    with pytest.raises(ValueError, match="needs the Gram"):
        merged("regmean", None, parents, grams=None)


@pytest.mark.parametrize("method", RULES)
def test_a_merge_of_equal_networks_is_the_network(method: str):
    _, (one,) = networks(1)
    base = one if method not in AVERAGES else None
    parents = [one] * COUNTS.get(method, 3)
    found, _ = merged(method, base, parents)
    assert np.array_equal(flat({name: value.astype(np.float32) for name, value in found.items()}), flat(one))


@pytest.mark.parametrize("method", RULES)
def test_where_tensors_are_cut_changes_rounding_at_most(method: str):
    base, parents = networks(COUNTS.get(method, 3))
    whole, _ = merged(method, needs(method, base), parents, step=10**6)
    cut, _ = merged(method, needs(method, base), parents, step=7)
    exact = method not in ("model_stock", "slerp", "variance_corrected", "fisher", "regmean")
    np.testing.assert_allclose(flat(cut), flat(whole), rtol=0 if exact else 1e-12, atol=0)


@pytest.mark.parametrize("method", RULES)
def test_every_library_merges_alike(method: str, backend):
    base, parents = networks(COUNTS.get(method, 3))
    host, _ = merged(method, needs(method, base), parents)
    found, _ = merged(method, needs(method, base), parents, xp=backend)
    np.testing.assert_allclose(flat(found), flat(host), rtol=1e-12, atol=1e-15)


ONE: dict[str, dict] = {
    "uniform": {"shares": (1.0,)},
    "variance_corrected": {"shares": (1.0,)},
    "fisher": {"shares": (1.0,)},
    "wise": {"numbers": {"t": 1.0}},
    "task_arithmetic": {"numbers": {"scale": 1.0}},
    "ties": {"numbers": {"density": 1.0, "scale": 1.0}},
    "ties_per_tensor": {"numbers": {"density": 1.0, "scale": 1.0}},
    "dare": {"numbers": {"density": 1.0, "scale": 1.0}},
    "breadcrumbs": {"numbers": {"smallest": 0.0, "largest": 0.0, "scale": 1.0}},
}


@pytest.mark.parametrize("method", ONE)
def test_one_network_of_which_all_is_taken_is_itself_bit_for_bit(method: str):
    base, parents = networks(1)
    found, _ = merged(method, needs(method, base), parents, **ONE[method])
    for name, value in parents[0].items():
        np.testing.assert_array_equal(found[name].astype(np.float32), value, err_msg=name)


def test_a_rule_about_task_vectors_says_that_it_has_no_base():
    _, parents = networks(2)
    with pytest.raises(ValueError, match="has no base"):
        merged("task_arithmetic", None, parents)


def test_every_tensor_belongs_to_one_block():
    names = {
        "conv_stem.weight": "conv_stem",
        "blocks.0.0.conv_pw.weight": "blocks.0",
        "layer1.0.bn1.running_var": "layer1.0",
        "bert.encoder.layer.11.output.dense.bias": "bert.encoder.layer.11",
        "bert.embeddings.LayerNorm.weight": "bert.embeddings",
        "classifier.weight": "classifier",
        "cls_token": "cls_token",
        "0.weight": "0",
    }
    assert {name: block_of(name) for name in names} == names
    assert sorted(name for members in blocks_of(names).values() for name in members) == sorted(names)


def test_a_barrier_is_the_largest_rise_over_the_straight_line(backend, rng: np.random.Generator):
    t = np.array([0, 0.25, 0.5, 1.0])
    ends = rng.random((2, 200))
    straight = (1 - t)[:, None] * ends[0] + t[:, None] * ends[1]
    rise = np.array([0, 0.1, 0.3, 0])[:, None] + 0.05 * rng.standard_normal((4, 200)) * np.array([0, 1, 1, 0])[:, None]
    found = barrier(backend.array(straight + rise), backend.array(t))
    assert found.t == 0.5
    assert found.value == pytest.approx(rise[2].mean(), rel=1e-12)
    low, high = scipy.stats.norm.interval(0.95, rise[2].mean(), scipy.stats.sem(rise[2]))
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
    below = barrier(backend.array(straight - rise), backend.array(t))
    assert below.value == pytest.approx(0, abs=1e-15)
    assert math.isnan(barrier(backend.array(straight[:, :1]), backend.array(t)).low)


def test_a_convex_loss_has_no_barrier_between_heads(rng: np.random.Generator):
    X, y = rng.standard_normal((50, 4)), rng.integers(0, 3, 50)
    first, second = rng.standard_normal((2, 3, 4)) * 3
    t = np.linspace(0, 1, 21)
    logits = np.stack([X @ ((1 - one) * first + one * second).T for one in t])
    loss = np.log(np.exp(logits).sum(2)) - np.take_along_axis(logits, y[None, :, None], 2)[..., 0]
    assert barrier(loss, t).value <= 1e-12


@pytest.mark.parametrize(
    ("shape", "t", "words"), [((3, 0), [0, 0.5, 1], "at least|N >= 1"), ((2, 4), [0, 0.9], "end with 1")]
)
def test_a_line_without_its_ends_or_rows_is_refused(shape, t, words):
    with pytest.raises(ValueError, match=words):
        barrier(np.zeros(shape), np.array(t))


def test_a_greedy_soup_keeps_what_raises_its_score():
    scores = {(2,): 0.7, (0,): 0.7, (1,): 0.9, (3,): math.nan}
    scores |= {(1, 0): 0.9, (1, 2): 0.95, (1, 2, 3): 0.96}
    steps = greedy_steps(4, lambda members: scores[tuple(members)])
    # Of equal ones the earlier is tried first; one that only equals the best is left out.
    assert [(one.candidate, one.kept) for one in steps] == [(1, True), (0, False), (2, True), (3, True)]
    assert [one.score for one in steps] == [0.9, 0.9, 0.95, 0.96]
    scores |= {(1, 3): 0.91}
    assert [one.kept for one in greedy_steps(4, lambda members: scores[tuple(members)], margin=0.1)] == [
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="at least one"):
        greedy_steps(0, lambda members: 0.0)


def test_scores_of_rows_drawn_again_spread_as_they_should(rng: np.random.Generator):
    labels = np.repeat([0, 1], [40, 160])
    values = (rng.random((2, 200)) < np.where(labels == 0, 0.6, 0.9)).astype(np.float64)
    means = np.stack([values[:, labels == one].mean(axis=1) for one in (0, 1)])
    mean = resampled_scores(values, labels, "mean", n_resamples=4000)
    rows = resampled_scores(values, labels, "rows", n_resamples=4000)
    np.testing.assert_allclose(mean.mean(axis=0), means.mean(axis=0), atol=0.005)
    np.testing.assert_allclose(rows.mean(axis=0), values.mean(axis=1), atol=0.005)
    variance = sum(p * (1 - p) / n for p, n in zip(means[:, 0], (40, 160), strict=True)) / 4
    assert mean[:, 0].std() == pytest.approx(math.sqrt(variance), rel=0.1)
    worst = resampled_scores(values, labels, "worst", n_resamples=400)
    assert (worst <= resampled_scores(values, labels, "mean", n_resamples=400)).all()
    same = resampled_scores(values[[0, 0]], labels, "worst")
    assert np.array_equal(same[:, 0], same[:, 1])  # paired
    with pytest.raises(ValueError, match="labels"):
        resampled_scores(values, labels[1:], "mean")


def test_rows_drawn_again_in_parts_are_the_same(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch):
    """So that memory does not grow with the rows."""
    values, labels = rng.random((2, 50)), np.repeat([0, 1], 25)
    whole = resampled_scores(values, labels, "worst", n_resamples=60)
    monkeypatch.setattr("penult_kernels.weight_space.resampled.COUNTS", 25 * 7)
    np.testing.assert_allclose(resampled_scores(values, labels, "worst", n_resamples=60), whole, rtol=1e-14)
