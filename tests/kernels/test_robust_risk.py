"""Group DRO and CVaR of a linear head, against a general solver on the epigraph form."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from penult_kernels.refit_engine import Fit, Head, Problem, solve
from penult_kernels.robust_risk import Ascent, GroupRisk, TailRisk
from penult_kernels.row_weights import cross_entropies

L2, ALPHA = 0.05, 0.3


def sample():
    rng = np.random.default_rng(1)
    g = rng.choice(4, size=120, p=[0.45, 0.1, 0.1, 0.35])
    x = rng.standard_normal((120, 4))
    x[:, 0] += g // 2
    x[:, 1] += 2 * (g % 2)
    return x, g // 2, g


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


def test_group_dro_reaches_the_optimum_of_the_epigraph_form():
    _, _, g = sample()

    def solved(losses):
        constraints = [
            {"type": "ineq", "fun": lambda z, k=k: z[5] - losses(z[:5])[g == k].mean()} for k in range(4)
        ]  # fmt: skip
        found = minimize(
            lambda z: z[5] + L2 / 4 * z[:4] @ z[:4],
            np.array([0, 0, 0, 0, 0, 1.0]),
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        return found.fun

    _, ascent = ascend(GroupRisk(group=g))
    expected = epigraph(solved)
    assert ascent.lower - 1e-6 <= expected <= ascent.upper + 1e-6


def test_cvar_reaches_the_optimum_of_rockafellar_and_uryasev():
    def solved(losses):
        # Smoothed hinge of width 1e-5, so that a quasi-Newton method can follow it.
        def objective(z):
            excess = losses(z[:5]) - z[5]
            hinge = 1e-5 * np.logaddexp(0, excess / 1e-5)
            return z[5] + hinge.mean() / ALPHA + L2 / 4 * z[:4] @ z[:4]

        start = np.array([0, 0, 0, 0, 0, 0.7])
        for _ in range(5):
            start = minimize(objective, start, method="Powell", options={"xtol": 1e-9, "ftol": 1e-12}).x
        return objective(start)

    _, ascent = ascend(TailRisk(n_rows=120, alpha=ALPHA))
    expected = epigraph(solved)
    assert ascent.lower - 1e-4 <= expected <= ascent.upper + 1e-3


def test_all_of_the_tail_is_the_mean():
    risk = TailRisk(n_rows=120, alpha=1.0)
    losses = np.random.default_rng(0).random(120)
    assert risk.worst(losses) == pytest.approx(losses.mean())
    np.testing.assert_allclose(risk.step(risk.start(), losses, 3.0), 1 / 120)


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.333])
def test_the_tail_is_the_mean_of_the_largest(alpha):
    risk = TailRisk(n_rows=40, alpha=alpha)
    losses = np.random.default_rng(0).random(40)
    weight = risk.step(risk.start(), losses, 1e4)
    assert weight.sum() == pytest.approx(1)
    assert weight.max() <= 1 / (alpha * 40) * (1 + 1e-9)
    assert weight @ losses == pytest.approx(risk.worst(losses), rel=1e-3)


@pytest.mark.parametrize("n_rows", [60, 200])
@pytest.mark.parametrize("kind", ["groups", "tail"])
def test_solves_no_more_accurate_than_asked_for_lead_to_the_end(kind, n_rows):
    """The first solve is a rough one: what it makes of d must not stand in the way of all that come after it."""
    rng = np.random.default_rng(2)
    g = rng.choice(4, size=n_rows, p=[0.4, 0.1, 0.1, 0.4])
    x = rng.standard_normal((n_rows, 80)).astype(np.float32) * np.float32(3)
    x[:, 0] += g // 2
    x[:, 1] += 2 * (g % 2)
    risk = GroupRisk(group=g) if kind == "groups" else TailRisk(n_rows=n_rows, alpha=0.3)
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
    ascent, share = Ascent(TailRisk(n_rows=300, alpha=0.1)), None
    while ascent.gap > 1e-4 and ascent.rounds < 40:
        (fit,) = solve(x, y, 2, [Problem(weight=ascent.weights(), l2=0.01)], tolerance=ascent.accuracy)
        found = tell(ascent, fit, x, y, 0.01)
        share = share if found is None else found
    assert ascent.gap <= 1e-4
    assert share < 0.1
    assert ascent.upper == pytest.approx(np.log(2), abs=1e-4)
