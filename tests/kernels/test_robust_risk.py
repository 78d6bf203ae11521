"""Group DRO and CVaR of a linear head, against a general solver on the epigraph form."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from penult_kernels.linear.robust import Ascent, GroupRisk, TailRisk
from penult_kernels.linear.solve import Fit, Head, Problem, solve
from penult_kernels.sampling.weights import cross_entropies

L2, ALPHA = 0.05, 0.3


def sample():
    rng = np.random.default_rng(1)
    g = rng.choice(4, size=120, p=[0.45, 0.1, 0.1, 0.35])
    x = rng.standard_normal((120, 4))
    x[:, 0] += g // 2
    x[:, 1] += 2 * (g % 2)
    return x, g // 2, g


def even(n: int) -> np.ndarray:
    return np.full(n, 1 / n)


def uneven(n: int) -> np.ndarray:
    """Weights of very different sizes, some of them 0."""
    rng = np.random.default_rng(7)
    weight = rng.random(n) ** 3 * (rng.random(n) < 0.9)
    return weight / weight.sum()


def tell(ascent: Ascent, fit: Fit, x: np.ndarray, y: np.ndarray, l2: float) -> float | None:
    logits, penalty = x @ fit.weight.T + fit.bias, l2 / 2 * np.sum(fit.weight**2)
    return ascent.tell(
        objective=fit.certificate.objective,
        gap=fit.certificate.gap,
        penalty=lambda share: float(share**2 * penalty),
        losses=lambda share: cross_entropies(share * logits, y),
    )


def ascend(risk: GroupRisk | TailRisk, tolerance: float = 1e-4) -> tuple[np.ndarray, Ascent]:
    x, y, _ = sample()
    ascent, best = Ascent(risk), np.zeros((2, 5))
    while ascent.gap > tolerance and ascent.rounds < 1000:
        weight = ascent.weights()
        assert weight.sum() == pytest.approx(1)
        (fit,) = solve(x, y, 2, [Problem(weight=weight, l2=L2)], tolerance=1e-8)
        share = tell(ascent, fit, x, y, L2)
        best = best if share is None else share * np.column_stack([fit.weight, fit.bias])
    assert ascent.gap <= tolerance
    return best, ascent


def epigraph(risk_of) -> float:
    """min over (w, b, t) by SLSQP, w = W_1 - W_0, whose l2 counts half."""
    x, y, _ = sample()

    def losses(theta: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, -(2 * y - 1) * (x @ theta[:4] + theta[4]))

    return risk_of(losses)


@pytest.mark.parametrize("weights", [even, uneven])
def test_group_dro_reaches_the_optimum_of_the_epigraph_form(weights):
    _, _, g = sample()
    weight = weights(120)

    def solved(losses):
        def slack(z, k):
            return z[5] - np.average(losses(z[:5])[g == k], weights=weight[g == k])

        constraints = [{"type": "ineq", "fun": slack, "args": (k,)} for k in range(4)]
        found = minimize(
            lambda z: z[5] + L2 / 4 * z[:4] @ z[:4],
            np.array([0, 0, 0, 0, 0, 1.0]),
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        return found.fun

    _, ascent = ascend(GroupRisk(group=g, weight=weight))
    expected = epigraph(solved)
    assert ascent.lower - 1e-6 <= expected <= ascent.upper + 1e-6


@pytest.mark.parametrize("weights", [even, uneven])
def test_cvar_reaches_the_optimum_of_rockafellar_and_uryasev(weights):
    weight = weights(120)

    def solved(losses):
        # Smoothed hinge of width 1e-5, so that a quasi-Newton method can follow it.
        def objective(z):
            excess = losses(z[:5]) - z[5]
            hinge = 1e-5 * np.logaddexp(0, excess / 1e-5)
            return z[5] + weight @ hinge / ALPHA + L2 / 4 * z[:4] @ z[:4]

        start = np.array([0, 0, 0, 0, 0, 0.7])
        for _ in range(5):
            start = minimize(objective, start, method="Powell", options={"xtol": 1e-9, "ftol": 1e-12}).x
        return objective(start)

    _, ascent = ascend(TailRisk(weight=weight, alpha=ALPHA))
    expected = epigraph(solved)
    assert ascent.lower - 1e-4 <= expected <= ascent.upper + 1e-3


def test_all_of_the_tail_is_the_mean():
    risk = TailRisk(weight=even(120), alpha=1.0)
    losses = np.random.default_rng(0).random(120)
    assert risk.worst(losses) == pytest.approx(losses.mean())
    np.testing.assert_allclose(risk.step(risk.start(), losses, 3.0), 1 / 120)


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.333])
def test_the_tail_is_the_mean_of_the_largest(alpha):
    risk = TailRisk(weight=even(40), alpha=alpha)
    losses = np.random.default_rng(0).random(40)
    weight = risk.step(risk.start(), losses, 1e4)
    assert weight.sum() == pytest.approx(1)
    assert weight.max() <= 1 / (alpha * 40) * (1 + 1e-9)
    assert weight @ losses == pytest.approx(risk.worst(losses), rel=1e-3)


def test_all_of_a_weighted_tail_is_the_weighted_mean():
    weight, losses = uneven(120), np.random.default_rng(0).random(120)
    risk = TailRisk(weight=weight, alpha=1.0)
    assert risk.worst(losses) == pytest.approx(weight @ losses)
    np.testing.assert_allclose(risk.step(risk.start(), losses, 3.0), weight, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.07, 0.25, 0.9])
def test_the_worst_weights_of_a_tail_solve_its_linear_program(alpha):
    """max s @ losses over 0 <= s <= p / alpha, sum 1, by SciPy; a long step goes there."""
    weight, losses = uneven(60), np.random.default_rng(1).random(60)
    risk = TailRisk(weight=weight, alpha=alpha)
    found = linprog(-losses, A_eq=np.ones((1, 60)), b_eq=[1.0], bounds=np.c_[np.zeros(60), weight / alpha])
    assert risk.worst(losses) == pytest.approx(-found.fun, abs=1e-9)
    np.testing.assert_allclose(risk.step(risk.start(), losses, 1e6), found.x, atol=1e-8)


@pytest.mark.parametrize("eta", [0.0, 0.3, 5.0])
def test_a_step_is_the_nearest_in_kl_within_the_caps(eta):
    """Against a bisection on c for min(c v, cap) = 1, from another start than the weights."""
    weight, rng = uneven(50), np.random.default_rng(3)
    risk = TailRisk(weight=weight, alpha=0.3)
    q = risk.step(risk.start(), rng.random(50), 2.0)
    losses = rng.random(50)
    v, cap = q * np.exp(eta * losses), weight / 0.3
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(middle * v, cap).sum() < 1 else (low, middle)
    np.testing.assert_allclose(risk.step(q, losses, eta), np.minimum(low * v, cap), atol=1e-10)


@pytest.mark.parametrize("kind", ["groups", "tail"])
def test_a_weight_of_k_is_the_row_k_times(kind):
    rng = np.random.default_rng(5)
    times, losses, g = rng.integers(0, 4, 40), rng.random(40), rng.integers(0, 3, 40)
    again = np.repeat(np.arange(40), times)

    def risk(weight: np.ndarray, group: np.ndarray) -> GroupRisk | TailRisk:
        return GroupRisk(group=group, weight=weight) if kind == "groups" else TailRisk(weight=weight, alpha=0.3)

    weighed, repeated = risk(times / times.sum(), g), risk(even(again.size), g[again])
    assert weighed.worst(losses) == pytest.approx(repeated.worst(losses[again]))
    one, other = weighed.start(), repeated.start()
    for _ in range(3):
        one, other = weighed.step(one, losses, 0.7), repeated.step(other, losses[again], 0.7)
    of_row = np.bincount(again, weights=repeated.of_rows(other), minlength=40)
    np.testing.assert_allclose(weighed.of_rows(one), of_row, atol=1e-12)


@pytest.mark.parametrize("n_rows", [60, 200])
@pytest.mark.parametrize("kind", ["groups", "tail"])
def test_solves_no_more_accurate_than_asked_for_lead_to_the_end(kind, n_rows):
    """The first solve is a rough one: what it makes of d must not stand in the way of all that come after it."""
    rng = np.random.default_rng(2)
    g = rng.choice(4, size=n_rows, p=[0.4, 0.1, 0.1, 0.4])
    x = rng.standard_normal((n_rows, 80)).astype(np.float32) * np.float32(3)
    x[:, 0] += g // 2
    x[:, 1] += 2 * (g % 2)
    risk = GroupRisk(group=g, weight=even(n_rows)) if kind == "groups" else TailRisk(weight=even(n_rows), alpha=0.3)
    ascent, problem = Ascent(risk), Problem(l2=0.01)
    while ascent.gap > 1e-4 * np.log(2) and ascent.rounds < 60:
        asked = replace(problem, weight=ascent.weights())
        (fit,) = solve(x, g // 2, 2, [asked], tolerance=ascent.accuracy / np.log(2))
        tell(ascent, fit, x, g // 2, 0.01)
        problem = replace(problem, start=Head(weight=fit.weight, bias=fit.bias))
    assert ascent.gap <= 1e-4 * np.log(2)


def test_an_optimum_that_predicts_nothing_is_found():
    """Labels of noise: whatever a head gains, the worst tenth loses more."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 20)), rng.integers(0, 2, 300)
    ascent, share = Ascent(TailRisk(weight=even(300), alpha=0.1)), None
    while ascent.gap > 1e-4 and ascent.rounds < 40:
        (fit,) = solve(x, y, 2, [Problem(weight=ascent.weights(), l2=0.01)], tolerance=ascent.accuracy)
        found = tell(ascent, fit, x, y, 0.01)
        share = share if found is None else found
    assert ascent.gap <= 1e-4
    assert share < 0.1
    assert ascent.upper == pytest.approx(np.log(2), abs=1e-4)
