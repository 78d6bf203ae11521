"""Influence of rows beside real refits without them, under every form of the objective."""

import numpy as np
import pytest

from penult_kernels.diagnostics.influence.curvature import FlatError
from penult_kernels.diagnostics.influence.removal import influence, mean_gradients
from penult_kernels.diagnostics.influence.without import without
from penult_kernels.linear.problem import Head, Intercept, Link, Problem, Standardize
from penult_kernels.linear.solve import solve
from penult_kernels.rows import ArrayRows

N, D, N_TEST = 90, 7, 60
ROWS = Standardize.ROWS
CENTER = Head(weight=np.random.default_rng(9).standard_normal((3, D)) * 0.3, bias=np.array([0.2, -0.1, 0.4]))
OBJECTIVES = {
    "softmax": (3, {"l2": 0.02, "standardize": ROWS}),
    "center": (3, {"l2": 0.05, "center": CENTER, "intercept": Intercept.PENALIZED, "intercept_scale": 2.0}),
    "two classes": (2, {"l2": 0.02, "standardize": ROWS}),
    "no intercept": (2, {"l2": 0.02, "intercept": Intercept.NONE}),
    "one against the rest": (3, {"l2": 0.02, "link": Link.OVR, "intercept": Intercept.PENALIZED}),
    "l1": (2, {"l1": 0.02, "link": Link.OVR, "standardize": ROWS}),
    "l1 and l2": (3, {"l1": 0.01, "l2": 0.02, "link": Link.OVR, "intercept": Intercept.PENALIZED}),
}


def made(k, seed=0):
    rng = np.random.default_rng(seed)

    def some(n):
        y = np.arange(n) % k
        x = rng.standard_normal((n, D)) * np.linspace(2, 0.4, D) + 1
        x[np.arange(n), y] += 1.0
        return x, y

    (x, y), (held, held_y) = some(N), some(N_TEST)
    return x, y, held, held_y, held_y * 2 + rng.integers(0, 2, N_TEST)


def mean(heads):
    return Head(weight=np.mean([h.weight for h in heads], axis=0), bias=np.mean([h.bias for h in heads], axis=0))


def losses(head, x, y, part, n_parts):
    z = x @ head.weight.T + head.bias
    each = np.log(np.exp(z).sum(axis=1)) - z[np.arange(y.size), y]
    return np.array([each[part == p].mean() for p in range(n_parts)])


def solved(x, y, k, problems):
    return solve(x, y, k, problems, tolerance=1e-14, max_iterations=500)


def drawn(change):
    """Two draws: all rows with weights of their own, and half of them."""
    rng = np.random.default_rng(3)
    half = np.sort(rng.choice(N, N // 2, replace=False))
    return [Problem(weight=rng.random(N) + 0.5, **change), Problem(rows=half, **change)]


@pytest.mark.parametrize("is_mean", [True, False])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_is_the_derivative_of_a_real_refit_and_near_its_change(name, is_mean):
    k, change = OBJECTIVES[name]
    x, y, held, held_y, part = made(k)
    problems, row = drawn(change), 8
    optima = solved(x, y, k, problems)
    head = mean(optima)
    gradients = mean_gradients(ArrayRows(held), held @ head.weight.T + head.bias, held_y, part, 2 * k)
    found = influence(x, y, k, problems, optima, gradients, is_mean=is_mean)
    changes, predicted = [], []
    for removed in (row, 20, 51, 77):
        after = mean(solved(x, y, k, without(x, y, k, problems, optima, np.array([removed]), is_mean=is_mean)))
        changes.append(losses(after, held, held_y, part, 2 * k) - losses(head, held, held_y, part, 2 * k))
        predicted.append(found.change[np.searchsorted(found.rows, removed)])
    largest = np.abs(changes).max()
    assert np.abs(np.subtract(changes, predicted)).max() < (0.5 if change.get("l1") else 0.25) * largest
    assert np.corrcoef(np.ravel(changes), np.ravel(predicted))[0, 1] > 0.98


@pytest.mark.parametrize("name", ["softmax", "two classes", "one against the rest", "center"])
def test_of_a_row_of_little_weight_it_is_exact(name):
    k, change = OBJECTIVES[name]
    x, y, held, held_y, part = made(k)
    problems = [Problem(weight=np.where(np.arange(N) == 4, 1e-2, 1.0), **change)]
    optima = solved(x, y, k, problems)
    gradients = mean_gradients(ArrayRows(held), held @ optima[0].weight.T + optima[0].bias, held_y, part, 2 * k)
    found = influence(x, y, k, problems, optima, gradients)
    after = solved(x, y, k, without(x, y, k, problems, optima, np.array([4])))[0]
    real = losses(after, held, held_y, part, 2 * k) - losses(optima[0], held, held_y, part, 2 * k)
    np.testing.assert_allclose(found.change[4], real, rtol=0.02, atol=0.01 * np.abs(real).max())
    moved = x[4] @ (after.weight - optima[0].weight).T + after.bias - optima[0].bias
    np.testing.assert_allclose(found.own_change[4] - found.own_change[4].mean(), moved - moved.mean(), rtol=0.02)


def test_the_correction_for_leverage_is_what_makes_it_exact():
    """Few rows and a small penalty: classic influence, without the correction, overstates what rows do."""
    k, change = 2, {"l2": 0.003, "intercept": Intercept.FREE}
    x, y, held, held_y, part = made(k, seed=4)
    problems = [Problem(**change)]
    optima = solved(x, y, k, problems)
    gradients = mean_gradients(ArrayRows(held), held @ optima[0].weight.T + optima[0].bias, held_y, part, 4)
    found = influence(x, y, k, problems, optima, gradients)
    real = np.stack(
        [
            losses(solved(x, y, k, without(x, y, k, problems, optima, np.array([i])))[0], held, held_y, part, 4)
            - losses(optima[0], held, held_y, part, 4)
            for i in range(0, N, 6)
        ]
    )
    newton = np.abs(found.change[::6] - real).max()
    # For two classes the correction is the scalar 1 / (1 - leverage), up to the pull of the penalty.
    classic = np.abs(found.change[::6] * (1 - found.leverage[::6, None]) - real).max()
    assert newton < 0.5 * classic


def test_equal_rows_and_orders(backend):
    """Rows in another order, and on another kind of array, have the same influence; a draw's other rows have none."""
    k, change = OBJECTIVES["softmax"]
    x, y, held, held_y, part = made(k)
    half = np.sort(np.random.default_rng(1).choice(N, 50, replace=False))
    problems = [Problem(rows=half, **change)]
    optima = solved(x, y, k, problems)
    gradients = mean_gradients(ArrayRows(held), held @ optima[0].weight.T + optima[0].bias, held_y, part, 6)
    found = influence(x, y, k, problems, optima, gradients)
    np.testing.assert_array_equal(found.rows, half)
    on_device = influence(backend.array(x), y, k, problems, optima, gradients)
    np.testing.assert_allclose(on_device.change, found.change, rtol=1e-8, atol=1e-12)
    turned = influence(
        x[::-1].copy(), y[::-1].copy(), k, [Problem(rows=np.sort(N - 1 - half), **change)], optima, gradients
    )
    np.testing.assert_allclose(turned.change[::-1], found.change, rtol=1e-7, atol=1e-12)
    narrow = influence(x.astype(np.float32), y, k, problems, optima, gradients)
    np.testing.assert_allclose(narrow.change, found.change, rtol=1e-3, atol=1e-6)


def test_many_unknowns_per_row_are_cut_in_strips():
    """More features than rows, three classes: leverages by a factor cut in strips are those of the dense inverse."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((24, 40)), np.arange(24) % 3
    problem = Problem(l2=0.1, intercept=Intercept.NONE)
    optimum = solved(x, y, 3, [problem])[0]
    found = influence(x, y, 3, [problem], [optimum], np.ones((1, 3, 41)))
    z = x @ optimum.weight.T + optimum.bias
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    bent = [np.diag(one) - np.outer(one, one) for one in p]
    hessian = sum(np.kron(s, np.outer(row, row)) for s, row in zip(bent, x, strict=True)) / 24 + 0.1 * np.eye(120)
    inverse = np.linalg.inv(hessian)
    between = [np.kron(np.eye(3), row[None]) @ inverse @ np.kron(np.eye(3), row[:, None]) for row in x]
    expected = [np.trace(s @ m) / 24 for s, m in zip(bent, between, strict=True)]
    np.testing.assert_allclose(found.leverage, expected, rtol=1e-8)


def test_what_has_no_newton_step_is_refused():
    x, y, *_ = made(2)
    for change, said in (
        ({"l1": 5.0, "link": Link.OVR, "intercept": Intercept.PENALIZED}, "no weight that is not zero"),
        ({"l2": 0.0}, "use an l2"),
    ):
        wide = np.concatenate([x, x[:, :1]], axis=1)
        problem = Problem(**change)
        optimum = Head(weight=np.zeros((2, D + 1)), bias=np.zeros(2))
        with pytest.raises(FlatError, match=said):
            influence(wide, y, 2, [problem], [optimum], np.zeros((1, 2, D + 2)))
    x, y, *_ = made(3)
    optimum = Head(weight=np.ones((3, D)), bias=np.zeros(3))
    with pytest.raises(FlatError, match="link='ovr'"):
        influence(x, y, 3, [Problem(l1=0.1)], [optimum], np.zeros((1, 3, D + 1)))
    with pytest.raises(ValueError, match="leave out fewer"):
        without(x, y, 3, [Problem(l2=0.1)], [optimum], np.arange(N))


def test_weightless_rows_are_not_counted_and_hinge_losses_refused():
    x, y, *_ = made(3)
    weight = np.where(np.arange(N) < 10, 0.0, 1.0)
    problems = [Problem(weight=weight, l2=0.1), Problem(l2=0.1, rows=np.arange(20))]
    optima = solved(x, y, 3, problems)
    none = np.zeros((1, 3, D + 1))
    found, alone = (influence(x, y, 3, problems[:k], optima[:k], none) for k in (2, 1))
    assert found.n_problems.tolist() == [1] * 10 + [2] * 10 + [1] * (N - 20)
    assert alone.rows.tolist() == list(range(10, N))
    of_second = influence(x, y, 3, problems[1:], optima[1:], none)
    np.testing.assert_allclose(found.leverage[:10], of_second.leverage[:10], rtol=1e-9)
    with pytest.raises(FlatError, match="hinge"):
        influence(x, y, 3, [Problem(link=Link.HINGE, intercept=Intercept.NONE, l2=0.1)], optima[:1], none)
