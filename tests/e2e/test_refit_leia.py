"""LEIA, a low-rank correction in the directions of the errors: its formula, its loop, what must not change it."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

import penult

N, D, C = 240, 9, 3
RNG = np.random.default_rng(0)
Y = RNG.integers(0, C, N)
A = (RNG.random(N) < 0.2 + 0.5 * (Y == 1)).astype(np.int64)
X = (RNG.standard_normal((N, D)) * np.linspace(0.5, 2, D) + 1).astype(np.float32)
X[:, 0] += Y
X[:, 1] += 1.5 * A
HEAD = penult.Head(weight=0.3 * RNG.standard_normal((C, D)), bias=0.2 * RNG.standard_normal(C))
ASKED = {
    "weights": "confidence",
    "center": "stored",
    "intercept": "none",
    "standardize": False,
    "tolerance": 1e-10,
}


@pytest.fixture(scope="module")
def features(client):
    return client.features.upload(features=X, y=Y, a=A, head=HEAD)


def errors_of(gamma, x=X, y=Y, head=HEAD):
    """(N,) mu of the rows, of sum 1."""
    p = softmax(head.logits(x), axis=1)[np.arange(y.size), y]
    mu = np.exp(gamma * (1 - p) - gamma)
    return mu / mu.sum()


def directions(mu, k):
    centered = X - mu @ X
    return np.linalg.eigh(centered.T @ (mu[:, None] * centered))[1][:, ::-1][:, :k]


@pytest.mark.parametrize("k", [1, 4])
def test_is_the_minimum_of_its_formula(client, features, k):
    """Weighted loss + r |A|^2 over A alone, by SciPy; r is half of l2."""
    r, gamma = 0.02, 6.0
    mu = errors_of(gamma)
    v = directions(mu, k)
    base, inside = HEAD.logits(X), X @ v

    def objective(flat):
        a = flat.reshape(k, C)
        log_p = log_softmax(base + inside @ a, axis=1)
        slope = inside.T @ (mu[:, None] * (np.exp(log_p) - np.eye(C)[Y])) + 2 * r * a
        return r * np.sum(a**2) - mu @ log_p[np.arange(N), Y], slope.ravel()

    best = minimize(objective, np.zeros(k * C), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    found = client.refit(features, **ASKED, gamma=gamma, subspace=k, l2=2 * r)
    assert found.certificate.converged
    assert found.certificate.objective == pytest.approx(best.fun, abs=1e-9)
    np.testing.assert_allclose(found.head.weight, HEAD.weight + (v @ best.x.reshape(k, C)).T, atol=1e-5)
    np.testing.assert_array_equal(found.head.bias, HEAD.bias)
    assert np.linalg.matrix_rank(found.head.weight - HEAD.weight, tol=1e-8) <= min(k, C - 1)


@pytest.mark.parametrize("balance", [None, "upweighting"])
def test_follows_the_authors_loop(client, features, balance):
    """A thousand full-batch steps of rate .01 without a penalty, from no correction; classes rebalanced or not."""
    mu = errors_of(10.0) / (np.bincount(Y)[Y] if balance else 1)
    mu /= mu.sum()
    v = directions(mu, 3)
    a, inside = np.zeros((3, C)), X @ v
    for _ in range(1000):
        p = softmax(np.clip(HEAD.logits(X) + inside @ a, -100, 100), axis=1)
        a -= 0.01 * inside.T @ (mu[:, None] * (p - np.eye(C)[Y]))
    more = {"balance": balance, "by": "class"} if balance else {}
    path = {"optimizer": "gd", "learning_rate": 0.01, "steps": 1000}
    asked = {key: value for key, value in ASKED.items() if key != "tolerance"}
    found = client.refit(features, **asked, gamma=10.0, subspace=3, path=path, **more)
    np.testing.assert_allclose(found.head.weight, HEAD.weight + (v @ a).T, atol=1e-7)
    assert found.settings.path.start == "stored"


def test_all_directions_about_zero_are_the_ridge_without_a_bias(client, features):
    found = client.refit(
        features, **(ASKED | {"center": "zero"}), gamma=0.0, subspace=D, l2=0.05
    )  # fmt: skip
    oracle = LogisticRegression(C=1 / (0.05 * N), fit_intercept=False, tol=1e-12, max_iter=10_000).fit(
        X.astype(float), Y
    )
    centered = oracle.coef_ - oracle.coef_.mean(axis=0)
    np.testing.assert_allclose(found.head.weight, centered, atol=2e-5)
    assert not found.head.bias.any()


def test_turned_features_give_the_same_answer(client, features):
    """Signs and order of the axes, and so of the directions, change no logit."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((D, D)))[0]
    head = penult.Head(weight=HEAD.weight @ turn, bias=HEAD.bias)
    turned = client.features.upload(features=(X @ turn).astype(np.float32), y=Y, a=A, head=head)
    one, other = (client.refit(s, **ASKED, gamma=10.0, subspace=4, l2=0.01) for s in (features, turned))
    np.testing.assert_allclose(one.head.logits(X), other.head.logits(X @ turn), atol=1e-4)


def test_equal_eigenvalues_give_the_same_answer(client):
    """Where the k directions share one eigenvalue with each other, which of them are found changes nothing."""
    axes = np.repeat(np.concatenate([np.eye(4), -np.eye(4)]), 6, axis=0)
    y = np.arange(48) % 2
    head = penult.Head(weight=np.zeros((2, 4)), bias=np.zeros(2))
    sets = [
        client.features.upload(features=x.astype(np.float32), y=y, head=head) for x in (axes, axes[:, [2, 0, 3, 1]])
    ]
    one, other = (client.refit(s, **ASKED, gamma=3.0, subspace=4, l2=0.01).head for s in sets)
    np.testing.assert_allclose(one.weight[:, [2, 0, 3, 1]], other.weight, atol=1e-7)


def test_the_preset_chooses_among_sixteen_by_the_worst_group(client, features):
    few = client.refit(features, preset="leia", select={"on": features}, evaluate={"same": features})
    candidates = few.selection.candidates
    assert len(candidates) == 16
    # Ranks of 10 and 20 are more than the nine features.
    assert [bool(one.failure) for one in candidates] == [False, False, True, True] * 4
    best = max(one.score for one in candidates if not one.failure)
    assert few.metrics["same"].worst_group_accuracy == best == few.selection.chosen.score
    assert few.settings.subspace in (1, 5)
    assert isinstance(few.settings.subspace, int)
    alone = client.refit(features, preset="leia", gamma=few.settings.gamma, subspace=few.settings.subspace)
    np.testing.assert_allclose(alone.head.weight, few.head.weight, atol=1e-4)
    by_class = client.refit(features, preset="leia", select={"on": features, "metric": "worst_class"})
    assert by_class.settings.select.metric == "worst_class"


def test_the_error_spectrum_stands_beside_the_group_spectra(client, features, tmp_path):
    """All rows together, weighted as LEIA weighs them; in figures, notebooks and files like other spectra."""
    found = client.spectra(features, weights="errors", gamma=4, by="all", replicates=20)
    mu = errors_of(4.0)
    centered = X - mu @ X
    np.testing.assert_allclose(
        found.eigenvalues[0], np.linalg.eigvalsh(centered.T @ (mu[:, None] * centered))[::-1], rtol=1e-6
    )
    assert (found.weights, found.gamma, found.by, found.imbalance) == ("errors", 4.0, "all", ())
    (low, high), largest = found.interval[0], found.eigenvalues[0, 0]
    assert low < largest < high
    assert client.spectra(features, weights="errors", gamma=4, by="all", replicates=20).reused
    by_group = client.spectra(features, weights="errors", replicates=0)
    assert (by_group.gamma, by_group.interval, len(by_group.groups)) == (10.0, None, 6)
    for one in (found, by_group):
        assert "Spectra" in repr(one)
        assert "table" in one._repr_html_()
        one.plot()
        one.save(tmp_path / "spectra.json")
        np.testing.assert_array_equal(penult.load(tmp_path / "spectra.json").eigenvalues, one.eigenvalues)
    plain = client.spectra(features, replicates=0)
    assert (plain.weights, plain.gamma, plain.interval) == ("uniform", None, None)
    with pytest.raises(penult.InvalidRequest, match="by='all' takes all rows as one part"):
        client.spectra(features, by="all")


def test_evals_is_lfr_chosen_by_inferred_environments(client, features):
    """EVaLS: rows of both ends of the loss, the size chosen by the worst of EIIL's environments."""
    environments = client.discover(features, method="eiil")
    found = client.refit(
        features,
        preset="lfr",
        grid={"top_k": [5, 20]},
        select={"on": features, "groups": environments, "final": "chosen"},
        plan=True,
    )
    value = client.groupings.read(environments).values
    worst = []
    for k in (5, 20):
        head = client.refit(features, preset="lfr", top_k=k).head
        is_right = head.logits(X).argmax(axis=1) == Y
        worst.append(min(is_right[(value == v) & (c == Y)].mean() for v in range(2) for c in range(C)))
    np.testing.assert_allclose([one.score for one in found.selection.candidates], worst, atol=1e-9)
    # As many rows that the stored head gets wrong as right, in each class.
    rows = found.plan.row_ids[0].astype(int)
    is_error = HEAD.logits(X).argmax(axis=1) != Y
    for c in range(C):
        own = rows[Y[rows] == c]
        assert is_error[own].sum() * 2 == own.size > 0
