"""Group DRO and CVaR of a linear head, against a general solver on the epigraph form."""

import numpy as np
import pytest
from scipy.optimize import minimize

from penult_kernels.refit_engine import Problem, solve
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


def ascend(risk: GroupRisk | TailRisk, tolerance: float = 1e-4) -> tuple[np.ndarray, Ascent]:
    x, y, _ = sample()
    ascent, best = Ascent(risk), np.zeros((2, 5))
    while ascent.gap > tolerance and ascent.rounds < 1000:
        weight = ascent.weights()
        assert weight.sum() == pytest.approx(1)
        (fit,) = solve(x, y, 2, [Problem(weight=weight, l2=L2)], tolerance=1e-8)
        losses = cross_entropies(x @ fit.weight.T + fit.bias, y)
        is_best = ascent.tell(
            objective=fit.certificate.objective,
            gap=fit.certificate.gap,
            penalty=L2 / 2 * np.sum(fit.weight**2),
            losses=losses,
        )
        best = np.column_stack([fit.weight, fit.bias]) if is_best else best
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
