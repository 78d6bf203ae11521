"""Agreements with the authors' programs that no change may lose: DFR's conventions, group DRO, CVaR, WILDS' groups.

AFR, SELF, RAD, EIIL and the others: `test_published_refits`.
"""

import numpy as np
import published_refits as published
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import penult
from penult_kernels.sampling.plans import halves

D = 12
STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


def group_data(n: int, seed: int, shares=(0.4, 0.1, 0.1, 0.4)):
    rng = np.random.default_rng(seed)
    g = rng.choice(4, size=n, p=shares)
    y, a = g // 2, g % 2
    x = rng.standard_normal((n, D)) * np.linspace(0.5, 2, D) + np.linspace(-1, 3, D)
    x[:, 0] += 0.5 * (2 * y - 1)
    x[:, 1] += 1.0 * (2 * a - 1)
    return x.astype(np.float32), y, a


@pytest.fixture(scope="module")
def data():
    return {"train": group_data(400, 30), "val": group_data(320, 31), "test": group_data(500, 32, (0.25,) * 4)}


@pytest.fixture(scope="module")
def sets(client, data):
    return {name: client.features.upload(features=x, y=y, a=a) for name, (x, y, a) in data.items()}


def wide(data, name: str):
    x, y, a = data[name]
    return x.astype(float), y, a


def fitted(x, y, c: float, *, intercept: str):
    """w and b of liblinear, whose intercept is one more penalised column; a large one costs next to nothing."""
    scaling = 1.0 if intercept == "penalized" else 1e4
    one = LogisticRegression(
        l1_ratio=1, C=c, solver="liblinear", intercept_scaling=scaling, random_state=0, tol=1e-9, max_iter=50_000
    ).fit(x, y)
    return one.coef_[0], one.intercept_[0]


CONVENTIONS = {
    # Final scaler, intercept.
    "dfr": ("val", "free"),
    "dfr_2022": ("train", "penalized"),
    "dfr_2023": ("val", "penalized"),
}


@pytest.mark.parametrize("preset", CONVENTIONS)
def test_dfr_s_three_conventions_are_liblinear_s_on_the_same_draws(client, sets, data, preset):
    """Seven strengths scored on a half, ties to the first; then the mean head of twenty balanced draws of all rows."""
    scaled_by, intercept = CONVENTIONS[preset]
    more = {"standardize": sets["train"]} if scaled_by == "train" else {}
    asked = {"preset": preset, "seed": 8, "plan": True, **more}
    tuned = client.refit(sets["val"], select={"on": "half", "final": "chosen"}, **asked)
    refit = client.refit(sets["val"], **asked)
    x, y, a = wide(data, "val")

    (rows,) = tuned.plan.row_ids.astype(int)
    scoring, fitting = halves(len(y), seed=8)
    assert set(rows) <= set(fitting)
    half_scaler = StandardScaler().fit(x[rows])
    scores = []
    for c in STRENGTHS:
        w, b = fitted(half_scaler.transform(x[rows]), y[rows], c, intercept=intercept)
        predicted = (half_scaler.transform(x[scoring]) @ w + b > 0).astype(int)
        scores.append(published.worst_group(predicted, y[scoring], a[scoring]))
    np.testing.assert_allclose([one.score for one in refit.selection.candidates], scores, atol=1e-12)
    best = int(np.argmax(scores))
    assert refit.selection.chosen.values["l1"] == pytest.approx(1 / STRENGTHS[best])

    scaler = StandardScaler().fit(wide(data, scaled_by)[0])
    draws = refit.plan.row_ids.astype(int)
    assert draws.shape == (20, 4 * np.bincount(2 * y + a).min())
    assert all(np.ptp(np.bincount(2 * y[own] + a[own])) == 0 for own in draws)
    heads = [fitted(scaler.transform(x[own]), y[own], STRENGTHS[best], intercept=intercept) for own in draws]
    w, b = (np.mean(part, axis=0) for part in zip(*heads, strict=True))

    ours = (refit.head.weight[1] - refit.head.weight[0]) * scaler.scale_
    assert ours @ w / np.linalg.norm(ours) / np.linalg.norm(w) >= 0.99999
    seen = wide(data, "test")[0]
    margin = np.diff(refit.head.logits(seen), axis=1)[:, 0]
    np.testing.assert_array_equal(margin > 0, scaler.transform(seen) @ w + b > 0)
    np.testing.assert_allclose(margin, scaler.transform(seen) @ w + b, rtol=1e-2, atol=1e-2)


def standardised(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def losses_of(theta, z, y):
    """(N,) cross-entropies of a head theta (C, D + 1), the bias last."""
    return -log_softmax(z @ theta[:, :-1].T + theta[:, -1], axis=1)[np.arange(len(y)), y]


def weighted_optimum(z, y, share, l2: float):
    """min over heads of sum_i share_i CE_i + l2/2 |W|^2: its value, and the losses there."""
    hot, ones = np.eye(y.max() + 1)[y], np.column_stack([z, np.ones(len(z))])

    def risk(flat):
        theta = flat.reshape(hot.shape[1], -1)
        residual = share[:, None] * (np.exp(log_softmax(ones @ theta.T, axis=1)) - hot)
        held = np.column_stack([theta[:, :-1], np.zeros(len(theta))])
        value = share @ losses_of(theta, z, y) + l2 / 2 * (held**2).sum()
        return value, (residual.T @ ones + l2 * held).ravel()

    start = np.zeros(hot.shape[1] * ones.shape[1])
    found = minimize(risk, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-9})
    return found.fun, losses_of(found.x.reshape(hot.shape[1], -1), z, y)


def penalty_of(refit, x, l2: float) -> float:
    return l2 / 2 * float(((refit.head.weight * x.std(axis=0)) ** 2).sum())


@pytest.mark.parametrize("n_classes", [2, 3])
def test_group_dro_ends_where_the_dual_does(client, n_classes):
    """max over q of min over heads of sum_g q_g L_g + l2/2 |W|^2, the outer problem by SLSQP: a bound from below."""
    rng = np.random.default_rng(n_classes)
    g = rng.choice(2 * n_classes, size=240, p=rng.dirichlet(np.full(2 * n_classes, 3.0)))
    y, a = g // 2, g % 2
    x = (rng.standard_normal((240, 5)) + 0.7 * rng.standard_normal((n_classes, 5))[y]).astype(np.float32)
    x[:, 0] += 1.5 * a
    mine = client.features.upload(features=x, y=y, a=a)
    x, l2 = x.astype(float), 0.02
    z, counts = standardised(x), np.bincount(g)

    def dual(q):
        value, losses = weighted_optimum(z, y, (q / counts)[g], l2)
        return -value, -np.bincount(g, weights=losses) / counts

    best = minimize(
        dual,
        np.full(counts.size, 1 / counts.size),
        jac=True,
        bounds=[(0, 1)] * counts.size,
        constraints={"type": "eq", "fun": lambda q: q.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 200},
    )
    assert best.success
    refit = client.refit(mine, preset="group_dro", l2=l2, tolerance=1e-6)
    losses = -log_softmax(refit.head.logits(x), axis=1)[np.arange(240), y]
    reached = (np.bincount(g, weights=losses) / counts).max() + penalty_of(refit, x, l2)
    assert refit.certificate.converged
    assert refit.certificate.objective == pytest.approx(reached, abs=1e-7)
    assert -1e-7 <= reached + best.fun <= 1e-6 * np.log(n_classes) + 1e-7
    # Not the mean's answer by chance: its worst group is worse.
    assert (np.bincount(g, weights=weighted_optimum(z, y, np.full(240, 1 / 240), l2)[1]) / counts).max() > reached


@pytest.mark.parametrize("alpha", [0.16, 0.5])
def test_cvar_ends_where_its_epigraph_does(client, alpha):
    """min t + sum_i u_i / (alpha N) + l2/2 |W|^2 with u_i >= 0 and u_i >= l_i - t (Rockafellar and Uryasev 2000)."""
    rng = np.random.default_rng(4)
    n, l2 = 60, 0.05
    y = rng.integers(2, size=n)
    x = (rng.standard_normal((n, 3)) + 2.2 * y[:, None]).astype(np.float32)
    mine = client.features.upload(features=x, y=y)
    x = x.astype(float)
    signed = (2 * y - 1)[:, None] * np.column_stack([standardised(x), np.ones(n)])

    def slack(v):
        """u - (l - t), of a head whose two rows are -w / 2 and w / 2."""
        return v[5:] - np.logaddexp(0, -signed @ v[:4]) + v[4]

    def slope(v):
        pull = signed / (1 + np.exp(signed @ v[:4]))[:, None]
        return np.column_stack([pull, np.ones(n), np.eye(n)])

    def value(v):
        held = np.append(v[:3], np.zeros(n + 2))
        return v[4] + v[5:].sum() / (alpha * n) + l2 / 4 * held @ held, l2 / 2 * held + np.r_[
            np.zeros(4), 1.0, np.full(n, 1 / (alpha * n))
        ]

    best = minimize(
        value,
        np.r_[np.zeros(4), np.log(2), np.full(n, 1e-3)],
        jac=True,
        bounds=[(None, None)] * 5 + [(0, None)] * n,
        constraints={"type": "ineq", "fun": slack, "jac": slope},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert best.success
    refit = client.refit(mine, preset="cvar_dro", alpha=alpha, l2=l2, tolerance=1e-5)
    losses = np.sort(-log_softmax(refit.head.logits(x), axis=1)[np.arange(n), y])[::-1]
    whole, part = divmod(alpha * n, 1)
    tail = (losses[: int(whole)].sum() + part * losses[int(whole)]) / (alpha * n)
    assert refit.certificate.converged
    assert refit.certificate.objective == pytest.approx(tail + penalty_of(refit, x, l2), abs=1e-7)
    assert -1e-7 <= refit.certificate.objective - best.fun <= 1e-5 * np.log(2) + 1e-7
    assert tail > losses.mean() + 0.05


def test_wilds_sixteen_groups_overlap(client):
    """Every identity by every label, as its evaluation counts them: a comment is in as many as it names identities."""
    rng = np.random.default_rng(6)
    identities = ("male", "female", "LGBTQ", "christian", "muslim", "other religions", "black", "white")
    mentions = rng.random((400, 8)) < np.array([0.3, 0.4, 0.05, 0.2, 0.1, 0.02, 0.1, 0.15])
    toxic = (rng.random(400) < 0.2 + 0.3 * mentions[:, 4]).astype(int)
    toxic[mentions[:, 5]] = 0
    x = rng.standard_normal((400, 3)).astype(np.float32)
    x[:, 0] += toxic
    masks = {
        f"{identity}, {verdict}": mentions[:, column] & (toxic == label)
        for column, identity in enumerate(identities)
        for label, verdict in enumerate(("not toxic", "toxic"))
    }
    mine = client.features.upload(features=x, y=toxic, a=mentions.any(axis=1).astype(int), masks=masks)
    head = penult.Head(weight=np.array([[0, 0, 0], [1.0, 0.2, 0]]), bias=np.array([0.4, 0.0]))
    metrics = client.evaluate(head, mine)

    right, counted, accuracy = {}, {}, {}
    for row in range(400):
        predicted = int(x[row, 0] + 0.2 * x[row, 1] > 0.4)
        for column in np.flatnonzero(mentions[row]):
            group = f"{identities[column]}, {('not toxic', 'toxic')[toxic[row]]}"
            counted[group] = counted.get(group, 0) + 1
            right[group] = right.get(group, 0) + (predicted == toxic[row])
            accuracy[group] = right[group] / counted[group]
    assert sum(counted.values()) > 400 > mentions.any(axis=1).sum()
    assert [one.name for one in metrics.masks] == list(masks)
    assert {one.name: (one.count, one.correct) for one in metrics.masks if one.count} == {
        group: (counted[group], right[group]) for group in counted
    }
    (empty,) = (one for one in metrics.masks if one.name not in counted)
    assert empty.name == "other religions, toxic"
    assert np.isnan(empty.accuracy)
    assert metrics.worst_mask.name == min(accuracy, key=accuracy.get)
    assert metrics.worst_mask_accuracy == min(accuracy.values())
    # The four groups that train are others, with another worst one.
    assert metrics.worst_group_accuracy > metrics.worst_mask_accuracy
