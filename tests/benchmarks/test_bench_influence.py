"""Influence of all rows beside one solve with the Hessian for each, and beside DataInf's formula."""

import time
from statistics import median

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from turns import processor_seconds_in_turns, seconds

from penult_kernels.diagnostics.influence.fitted import Fitted
from penult_kernels.diagnostics.influence.removal import influence
from penult_kernels.diagnostics.influence.singles import head_moves, most_rows
from penult_kernels.diagnostics.influence.targets import mean_changes, mean_gradients
from penult_kernels.diagnostics.influence.without import without
from penult_kernels.linear.problem import Problem
from penult_kernels.linear.solve import Head, solve
from penult_kernels.rows import ArrayRows

Floats = NDArray[np.float64]
GROUPS = 4
EXACT = 1e10
"""Multiplications for rows that are removed exactly, as the service takes."""


def set_like_features(
    n: int, d: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Eigenvalues ~ 1/rank, two classes, a shortcut that most rows have."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    a = np.where(rng.random(n) < 0.9, y, 1 - y)
    x = rng.standard_normal((n, d)) / np.sqrt(np.arange(1, d + 1))
    x[:, 0] += y
    x[:, 1] += a
    return x.astype(np.float32), y, 2 * y + a


class Case:
    """A fitted head, and the groups whose losses are looked at."""

    def __init__(self, n: int, d: int, n_held: int, l2: float, tolerance: float = 1e-13) -> None:
        self.x, self.y, _ = set_like_features(n, d)
        self.held, self.held_y, self.part = set_like_features(n_held, d, seed=1)
        problem = Problem(l2=l2)
        fit = solve(self.x, self.y, 2, [problem], tolerance=tolerance, max_iterations=1000)[0]
        self.head = Head(weight=fit.weight, bias=fit.bias)
        self.problem = problem
        self.logits = self.held.astype(np.float64) @ fit.weight.T + fit.bias

    def fitted(self) -> Fitted:
        """Nothing of it is kept from one call to the next."""
        return Fitted(features=self.x, y=self.y, n_classes=2, problems=[self.problem], optima=[self.head])

    def gradients(self) -> Floats:
        return mean_gradients(ArrayRows(self.held), self.logits, self.held_y, self.part, GROUPS)

    def first_order(self) -> Floats:
        """(n, G) of all rows."""
        return influence(self.fitted(), self.gradients()).change

    def with_exact(self) -> tuple[Floats, NDArray[np.int64]]:
        """As the service answers: all rows, those of the largest changes exactly; and which those are."""
        fitted = self.fitted()
        change = influence(fitted, self.gradients()).change.copy()
        rows = np.sort(np.argsort(-np.abs(change).max(axis=1))[: most_rows(fitted, EXACT, 64)])
        for batch, moves in head_moves(fitted, rows):
            at = (ArrayRows(self.held), self.logits, self.held_y, self.part, GROUPS)
            change[rows[batch]] = mean_changes(*at, moves.weight, moves.bias)
        return change, rows

    def hessian(self) -> Floats:
        """(D + 1, D + 1) of the loss in the difference of the classes' weights, as a person writes it."""
        z = np.concatenate([self.x.astype(np.float64), np.ones((len(self.x), 1))], axis=1)
        w = np.append(self.head.weight[1] - self.head.weight[0], self.head.bias[1] - self.head.bias[0])
        p = 1 / (1 + np.exp(-z @ w))
        penalty = np.full(z.shape[1], self.problem.l2 / 2)
        penalty[-1] = 0
        return (z * (p * (1 - p) / len(z))[:, None]).T @ z + np.diag(penalty)

    def row_gradients(self) -> Floats:
        """(n, D + 1) of the rows' losses in the difference."""
        z = np.concatenate([self.x.astype(np.float64), np.ones((len(self.x), 1))], axis=1)
        w = np.append(self.head.weight[1] - self.head.weight[0], self.head.bias[1] - self.head.bias[0])
        return (1 / (1 + np.exp(-z @ w)) - self.y)[:, None] * z

    def one_by_one(self, rows: NDArray[np.int64]) -> Floats:
        """g_T^T H^-1 g_i / n, a solve for each row (Koh & Liang 2017, eq. 2)."""
        hessian, own, targets = self.hessian(), self.row_gradients(), self.gradients()[:, 1, :]
        return np.stack([targets @ np.linalg.solve(hessian, own[row]) for row in rows]) / len(own)

    def datainf(self) -> Floats:
        """Kwon et al. 2024, eq. 5, with a damping of a tenth of the mean squared entry of the gradients."""
        own, targets = self.row_gradients(), self.gradients()[:, 1, :]
        damping, square = 0.1 * float(np.mean(own**2)), np.sum(own * own, axis=1)
        inner, towards = own @ own.T, own @ targets.T
        shrunk = (inner / (damping + square)[None, :]) @ towards / len(own)
        return (towards - shrunk) / damping / len(own)

    def really(self, rows: NDArray[np.int64]) -> Floats:
        fitted, found = self.fitted(), list[Floats]()
        for row in rows:
            after = solve(self.x, self.y, 2, without(fitted, np.array([row])), tolerance=1e-13, max_iterations=1000)[0]
            logits = self.held.astype(np.float64) @ after.weight.T + after.bias
            found.append(_losses(logits, self.held_y, self.part) - _losses(self.logits, self.held_y, self.part))
        return np.stack(found)


def _losses(logits: Floats, y: NDArray[np.int64], part: NDArray[np.int64]) -> Floats:
    each = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(y.size), y]
    return np.array([each[part == g].mean() for g in range(GROUPS)])


def agreement(found: Floats, real: Floats) -> tuple[float, float, float]:
    """Correlation, coefficient b of the real changes by those found, largest error of b times these by the largest
    change."""
    correlation = float(np.corrcoef(found.ravel(), real.ravel())[0, 1])
    slope = float((found * real).sum() / (found * found).sum())
    return correlation, slope, float(np.abs(slope * found - real).max() / np.abs(real).max())


def test_all_rows_beside_one_solve_for_each(at_full_size: bool) -> None:
    n, d, some = (20_000, 1280, 3) if at_full_size else (300, 12, 2)
    case = Case(n, d, n, 1e-3, tolerance=1e-4)
    with threadpool_limits(1, user_api="blas"):
        ours, exact = processor_seconds_in_turns(case.first_order, case.with_exact, rounds=1)
        hessian, own = case.hessian(), case.row_gradients()
        targets = case.gradients()[:, 1, :]
        each = [
            seconds(lambda row=row: targets @ np.linalg.solve(hessian, own[row]), time.process_time)
            for row in range(some)
        ]
        inverse = np.linalg.inv(hessian)
        quick = [seconds(lambda row=row: targets @ (inverse @ own[row]), time.process_time) for row in range(20)]
    loop, of_inverse, n_exact = median(each) * n, median(quick) * n, min(n, most_rows(case.fitted(), EXACT, 64))
    print(
        f"\ninfluence of {n} rows x {d}, two classes, {GROUPS} groups, in seconds of processor: {median(ours):.2f} to "
        f"first order, {median(exact):.2f} with {n_exact} rows exactly; a solve a row {loop:.0f} ({some} timed), "
        f"a product with the inverse a row {of_inverse:.0f}: {loop / median(exact):.0f} and "
        f"{of_inverse / median(exact):.1f} x"
    )
    if at_full_size:
        assert loop / median(exact) >= 100


def test_it_is_nearer_to_refits_than_datainf(at_full_size: bool) -> None:
    n, d = (400, 1280) if at_full_size else (80, 6)
    with threadpool_limits(1, user_api="blas"):
        _beside_refits(Case(n, d, 200, 1e-2), n, d, at_full_size)


def _beside_refits(case: Case, n: int, d: int, at_full_size: bool) -> None:
    rows = np.random.default_rng(2).choice(n, 20 if at_full_size else 8, replace=False)
    real = case.really(rows)
    found = {
        "ours": case.with_exact()[0][rows],
        "to first order": case.first_order()[rows],
        "H^-1 without leverage": case.one_by_one(rows),
        "DataInf": case.datainf()[rows],
    }
    told = {name: agreement(values, real) for name, values in found.items()}
    print(
        f"\n{rows.size} rows of {n} x {d} beside refits: correlation, coefficient, largest error by the largest change"
    )
    for name, (correlation, slope, error) in told.items():
        print(f"  {name}: {correlation:.4f}, {slope:.3f}, {error:.2%}")
    assert told["ours"][2] < 0.01
    assert told["ours"][2] < 0.1 * told["DataInf"][2]
    assert told["ours"][0] > told["DataInf"][0]
