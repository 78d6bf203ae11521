"""Influence of rows beside real refits without them, under every form of the objective."""

from dataclasses import replace

import numpy as np
import pytest

from penult_kernels.arrays import to_host
from penult_kernels.diagnostics.influence.curvature import FlatError
from penult_kernels.diagnostics.influence.fitted import Fitted
from penult_kernels.diagnostics.influence.removal import influence
from penult_kernels.diagnostics.influence.singles import head_moves
from penult_kernels.diagnostics.influence.targets import mean_changes, mean_gradients
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


def fitted_of(x, y, k, problems, *, is_mean=True):
    optima = solved(x, y, k, problems)
    return Fitted(features=x, y=y, n_classes=k, problems=problems, optima=optima, is_mean=is_mean)


def targets(fitted, held, held_y, part, n_parts):
    """The mean head, its logits, and the gradients of the parts' losses."""
    head = mean(fitted.optima)
    logits = held @ head.weight.T + head.bias
    return head, logits, mean_gradients(ArrayRows(held), logits, held_y, part, n_parts)


def really(fitted, head, row, held, held_y, part, n_parts):
    """Changes of the losses by the optima without a row, from the start."""
    after = mean(solved(fitted.features, fitted.y, fitted.n_classes, without(fitted, np.array([row]))))
    return losses(after, held, held_y, part, n_parts) - losses(head, held, held_y, part, n_parts)


@pytest.mark.parametrize("is_mean", [True, False])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_single_rows_are_what_real_refits_say(name, is_mean):
    """Six steps of each leave a millionth; one step and losses to first order, a fifth of the largest change."""
    k, change = OBJECTIVES[name]
    x, y, held, held_y, part = made(k)
    fitted, rows = fitted_of(x, y, k, drawn(change), is_mean=is_mean), np.array([8, 20, 77])
    head, logits, gradients = targets(fitted, held, held_y, part, 2 * k)
    real = np.stack([really(fitted, head, row, held, held_y, part, 2 * k) for row in rows])
    ((_, moves),) = head_moves(fitted, rows)
    assert moves.is_solved.all()
    exact = mean_changes(ArrayRows(held), logits, held_y, part, 2 * k, moves.weight, moves.bias)
    np.testing.assert_allclose(exact, real, atol=1e-5 * np.abs(real).max())
    found = influence(fitted, gradients)
    first_order = found.change[np.searchsorted(found.rows, rows)]
    assert np.corrcoef(real.ravel(), first_order.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", ["softmax", "two classes", "one against the rest", "center"])
def test_what_one_step_leaves_is_of_second_order(name):
    """Half the weight of the removed row, half of the change, and a quarter of the error or less."""
    k, change = OBJECTIVES[name]
    x, y, held, held_y, part = made(k)
    errors, sizes = [], []
    for weight in (0.2, 0.1):
        fitted = fitted_of(x, y, k, [Problem(weight=np.where(np.arange(N) == 4, weight, 1.0), **change)])
        _, logits, gradients = targets(fitted, held, held_y, part, 2 * k)
        found = influence(fitted, gradients)
        ((_, moves),) = head_moves(fitted, np.array([4]))
        real = mean_changes(ArrayRows(held), logits, held_y, part, 2 * k, moves.weight, moves.bias)[0]
        own = moves.own(x, np.array([4]))[0]
        errors.append([np.linalg.norm(found.change[4] - real), np.linalg.norm(found.own_change[4] - own)])
        sizes.append([np.linalg.norm(real), np.linalg.norm(own)])
    of_size, of_error = np.divide(sizes[0], sizes[1]), np.divide(errors[0], errors[1])
    np.testing.assert_allclose(of_size, 2.0, rtol=0.1)
    assert (of_error > 3.4).all()


def test_few_rows_of_many_features_are_solved_too():
    """More features than rows: one step errs by a quarter; leverages near 1, to which steps still arrive."""
    rng = np.random.default_rng(0)
    y, x = np.arange(40) % 2, rng.standard_normal((40, 80)).astype(np.float32)
    x[:, 0] += 1.5 * y
    fitted = fitted_of(x, y, 2, [Problem(l2=1e-2)])
    head, logits, gradients = targets(fitted, x.astype(float), y, y, 2)
    found = influence(fitted, gradients)
    rows = np.argsort(-found.leverage)[:6]
    assert found.leverage[rows[0]] > 0.8
    ((_, moves),) = head_moves(fitted, rows)
    assert moves.is_solved.all()
    exact = mean_changes(ArrayRows(x), logits, y, y, 2, moves.weight, moves.bias)
    real = np.stack([really(fitted, head, row, x.astype(float), y, y, 2) for row in rows])
    np.testing.assert_allclose(exact, real, atol=1e-5 * np.abs(real).max())


def test_the_correction_for_leverage_is_what_makes_it_exact():
    """Few rows and a small penalty: classic influence, without the correction, overstates what rows do."""
    k, change = 2, {"l2": 0.003, "intercept": Intercept.FREE}
    x, y, held, held_y, part = made(k, seed=4)
    fitted = fitted_of(x, y, k, [Problem(**change)])
    _, logits, gradients = targets(fitted, held, held_y, part, 4)
    found = influence(fitted, gradients)
    ((_, moves),) = head_moves(fitted, np.arange(N))
    real = mean_changes(ArrayRows(held), logits, held_y, part, 4, moves.weight, moves.bias)
    newton = np.abs(found.change - real).max()
    # For two classes the correction is the scalar 1 / (1 - leverage), up to the pull of the penalty.
    classic = np.abs(found.change * (1 - found.leverage[:, None]) - real).max()
    assert newton < 0.5 * classic


def test_equal_rows_and_orders(backend):
    """Rows in another order, and on another kind of array, have the same influence; a draw's other rows have none."""
    k, change = OBJECTIVES["softmax"]
    x, y, held, held_y, part = made(k)
    half = np.sort(np.random.default_rng(1).choice(N, 50, replace=False))
    fitted = fitted_of(x, y, k, [Problem(rows=half, **change)])
    _, logits, gradients = targets(fitted, held, held_y, part, 6)
    found = influence(fitted, gradients)
    np.testing.assert_array_equal(found.rows, half)
    on_device = replace(fitted, features=backend.array(x))
    np.testing.assert_allclose(influence(on_device, gradients).change, found.change, rtol=1e-8, atol=1e-12)
    back = replace(
        fitted,
        features=x[::-1].copy(),
        y=y[::-1].copy(),
        problems=[Problem(rows=np.sort(N - 1 - half), **change)],
    )
    np.testing.assert_allclose(influence(back, gradients).change[::-1], found.change, rtol=1e-7, atol=1e-12)
    narrow = replace(fitted, features=x.astype(np.float32))
    np.testing.assert_allclose(influence(narrow, gradients).change, found.change, rtol=1e-3, atol=1e-6)
    (_, here), (_, there), (_, thin) = (next(head_moves(one, half[:3])) for one in (fitted, on_device, narrow))
    np.testing.assert_allclose(to_host(there.weight), here.weight, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(thin.weight, here.weight, rtol=1e-3, atol=1e-6)
    at = [mean_changes(ArrayRows(held), logits, held_y, part, 6, here.weight, here.bias)]
    at += [mean_changes(ArrayRows(backend.array(held)), logits, held_y, part, 6, there.weight, there.bias)]
    np.testing.assert_allclose(at[1], at[0], rtol=1e-7, atol=1e-12)


def test_many_unknowns_per_row_are_cut_in_strips():
    """More features than rows, three classes: leverages by a factor cut in strips are those of the dense inverse."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((24, 40)), np.arange(24) % 3
    problem = Problem(l2=0.1, intercept=Intercept.NONE)
    optimum = solved(x, y, 3, [problem])[0]
    fitted = Fitted(features=x, y=y, n_classes=3, problems=[problem], optima=[optimum])
    found = influence(fitted, np.ones((1, 3, 41)))
    z = x @ optimum.weight.T + optimum.bias
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    bent = [np.diag(one) - np.outer(one, one) for one in p]
    hessian = sum(np.kron(s, np.outer(row, row)) for s, row in zip(bent, x, strict=True)) / 24 + 0.1 * np.eye(120)
    inverse = np.linalg.inv(hessian)
    between = [np.kron(np.eye(3), row[None]) @ inverse @ np.kron(np.eye(3), row[:, None]) for row in x]
    expected = [np.trace(s @ m) / 24 for s, m in zip(bent, between, strict=True)]
    np.testing.assert_allclose(found.leverage, expected, rtol=1e-8)


def test_what_has_no_newton_step_is_refused():
    def of(x, y, k, problem, weight=0.0):
        d = x.shape[1]
        optimum = Head(weight=np.full((k, d), weight), bias=np.zeros(k))
        fitted = Fitted(features=x, y=y, n_classes=k, problems=[problem], optima=[optimum])
        return fitted, np.zeros((1, k, d + 1))

    x, y, *_ = made(2)
    wide = np.concatenate([x, x[:, :1]], axis=1)
    unbiased = Problem(l1=5.0, link=Link.OVR, intercept=Intercept.PENALIZED)
    with pytest.raises(FlatError, match="no weight that is not zero"):
        influence(*of(wide, y, 2, unbiased))
    with pytest.raises(FlatError, match="use an l2"):
        influence(*of(wide, y, 2, Problem(l2=0.0)))
    x, y, *_ = made(3)
    with pytest.raises(FlatError, match="link='ovr'"):
        influence(*of(x, y, 3, Problem(l1=0.1), 1.0))
    with pytest.raises(ValueError, match="leave out fewer"):
        without(of(x, y, 3, Problem(l2=0.1))[0], np.arange(N))


def test_weightless_rows_are_not_counted_and_hinge_losses_refused():
    x, y, *_ = made(3)
    weight = np.where(np.arange(N) < 10, 0.0, 1.0)
    problems, none = [Problem(weight=weight, l2=0.1), Problem(l2=0.1, rows=np.arange(20))], np.zeros((1, 3, D + 1))
    both, first, second = (fitted_of(x, y, 3, some) for some in (problems, problems[:1], problems[1:]))
    found = influence(both, none)
    assert found.n_problems.tolist() == [1] * 10 + [2] * 10 + [1] * (N - 20)
    assert influence(first, none).rows.tolist() == list(range(10, N))
    np.testing.assert_allclose(found.leverage[:10], influence(second, none).leverage[:10], rtol=1e-6)
    hinge = Problem(link=Link.HINGE, intercept=Intercept.NONE, l2=0.1)
    with pytest.raises(FlatError, match="hinge"):
        influence(replace(first, problems=[hinge]), none)


@pytest.mark.parametrize("intercept", Intercept)
def test_the_only_row_of_a_class_cannot_be_left_out_of_a_free_bias(intercept):
    x, y = made(2)[0][:20], np.eye(20, dtype=int)[7]
    fitted = fitted_of(x, y, 2, [Problem(l2=0.1, intercept=intercept)])
    ((_, moves),) = head_moves(fitted, np.array([3, 7]))
    assert moves.is_solved.tolist() == [True, intercept is not Intercept.FREE]
