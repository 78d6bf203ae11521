"""Presets against their papers' and scripts' procedures on the same rows (`published_refits`)."""

import warnings

import numpy as np
import published_refits as published
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

import penult
from penult_kernels.sampling.plans import halves

D = 12


def group_data(n: int, seed: int, shares=(0.4, 0.1, 0.1, 0.4)):
    rng = np.random.default_rng(seed)
    g = rng.choice(4, size=n, p=shares)
    y, a = g // 2, g % 2
    x = rng.standard_normal((n, D)) * np.linspace(0.5, 2, D)
    x[:, 0] += 0.5 * (2 * y - 1)
    x[:, 1] += 1.0 * (2 * a - 1)
    return x.astype(np.float32), y, a


@pytest.fixture(scope="module")
def data():
    return {"train": group_data(500, 10), "val": group_data(300, 11), "test": group_data(200, 12, (0.25,) * 4)}


@pytest.fixture(scope="module")
def erm(client, data):
    """The head of empirical risk minimisation on other rows of the training distribution."""
    x, y, a = group_data(800, 13)
    return client.refit(client.features.upload(features=x, y=y, a=a), preset="erm", standardize=False).head


@pytest.fixture(scope="module")
def sets(client, data, erm):
    return {name: client.features.upload(features=x, y=y, a=a, head=erm) for name, (x, y, a) in data.items()}


def wide(data, name: str):
    x, y, a = data[name]
    return x.astype(float), y, a


def margins(head: penult.Head, x):
    logits = head.logits(x)
    return logits[:, 1] - logits[:, 0]


def liblinear(x, y, c: float, weight=None) -> LogisticRegression:
    fit = LogisticRegression(l1_ratio=1, C=c, solver="liblinear", random_state=0, tol=1e-8, max_iter=20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit.fit(x, y, sample_weight=weight)


def test_afr_s_whole_protocol(client, sets, data, erm):
    """33 gammas by 4 lambdas, 500 clipped steps each, the best of all iterates by worst group."""
    refit = client.refit(sets["train"], preset="afr", select={"on": sets["val"]})
    gammas, lambdas = np.linspace(4, 20, 33), (0, 0.1, 0.2, 0.3)
    expected = published.afr(
        wide(data, "train"), wide(data, "val"), (erm.weight, erm.bias), gammas, lambdas, rate=0.01, steps=500
    )
    candidates = refit.selection.candidates
    assert len(candidates) == 132
    np.testing.assert_allclose(
        [(one.values["gamma"], one.values["l2"] / 2) for one in candidates],
        [(g, lam) for g in gammas for lam in lambdas],
    )
    # The features are float32 and so is the path: a row that a step leaves within rounding of the boundary may differ.
    assert np.mean([one.step == step for one, (_, step, _) in zip(candidates, expected, strict=True)]) > 0.98
    np.testing.assert_allclose([one.score for one in candidates], [score for score, _, _ in expected], atol=1 / 20)
    assert np.mean([one.score == score for one, (score, _, _) in zip(candidates, expected, strict=True)]) > 0.98
    chosen = expected[candidates.index(refit.selection.chosen)]
    assert refit.selection.chosen.score == max(score for score, _, _ in expected)
    np.testing.assert_allclose(refit.head.weight, chosen[2][:, :-1], atol=2e-5)
    np.testing.assert_allclose(refit.head.bias, chosen[2][:, -1], atol=2e-5)


def test_llr_trains_a_fresh_head_on_class_balanced_batches(client, sets, data):
    x, y, _ = wide(data, "train")
    refit = client.refit(sets["train"], preset="llr", seed=3)
    batches = published.draws(y, 32, 100 * -(-len(y) // 32), seed=3)
    weight, bias = published.sgd(x, y, batches, rate=3e-3, decay=1e-4)
    np.testing.assert_allclose(refit.head.weight, weight, atol=2e-5)
    np.testing.assert_allclose(refit.head.bias, bias, atol=2e-5)


@pytest.mark.parametrize("preset", ["crt", "reweight_crt"])
def test_classifier_retraining_balances_groups_by_draws_or_weights(client, sets, data, preset):
    x, y, a = wide(data, "train")
    g, steps = 2 * y + a, 400
    refit = client.refit(sets["train"], preset=preset, seed=5, path={"steps": steps})
    if preset == "crt":
        batches, share = published.draws(g, 108, steps, seed=5), None
    else:
        # w_g ~ 1 / n_g, of mean 1 over the rows.
        batches, share = published.epochs(len(y), 108, steps, seed=5), len(y) / 4 / np.bincount(g)[g]
    weight, bias = published.sgd(x, y, batches, rate=1e-3, momentum=0.9, decay=1e-4, share=share)
    np.testing.assert_allclose(refit.head.weight, weight, atol=2e-5)
    np.testing.assert_allclose(refit.head.bias, bias, atol=2e-5)


def test_self_finetunes_the_stored_head_on_what_it_gets_wrong(client, sets, data, erm):
    """Half of the rows score; of the other half those of largest loss, in class-balanced batches, 250 steps."""
    x, y, a = wide(data, "val")
    grid = {"top_k": [20, 100], "learning_rate": [1e-4, 1e-3, 1e-2]}
    refit = client.refit(sets["val"], preset="self", grid=grid, seed=2)
    scoring, fitted = halves(len(y), seed=2)
    losses = -log_softmax(x @ erm.weight.T + erm.bias, axis=1)[np.arange(len(y)), y]
    scores, heads = [], []
    for k in grid["top_k"]:
        rows = np.sort(fitted[np.argsort(-losses[fitted])[:k]])
        for rate in grid["learning_rate"]:
            batches = published.draws(y[rows], min(32, k), 250, seed=2)
            head = published.sgd(x[rows], y[rows], batches, rate=rate, decay=1e-4, start=(erm.weight, erm.bias))
            heads.append(head)
            predicted = (x[scoring] @ head[0].T + head[1]).argmax(axis=1)
            scores.append(published.worst_group(predicted, y[scoring], a[scoring]))
    np.testing.assert_allclose([one.score for one in refit.selection.candidates], scores, atol=1e-12)
    last_best = len(scores) - 1 - int(np.argmax(scores[::-1]))
    assert refit.selection.candidates.index(refit.selection.chosen) == last_best
    np.testing.assert_allclose(refit.head.weight, heads[last_best][0], atol=2e-5)
    np.testing.assert_allclose(refit.head.bias, heads[last_best][1], atol=2e-5)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_rad_upweights_the_errors_of_its_detector(client, sets, data, schedule):
    """A detector by AdamW with (1 / c_sel) mean |W| from a random start, its errors weighed, liblinear, the grid."""
    x, y, a = wide(data, "val")
    c_sel, rate = 0.1, 1e-3
    rng = np.random.default_rng(7)
    start = rng.uniform(-(D**-0.5), D**-0.5, (2, D)), rng.uniform(-(D**-0.5), D**-0.5, 2)
    cs, ups = (0.01, 0.1, 1.0), (4.0, 20.0)
    refit = client.refit(
        sets["val"],
        preset="rad",
        seed=4,
        tolerance=1e-8,
        detector={
            "optimizer": "adamw",
            "learning_rate": rate,
            "weight_decay": 1e-3,
            "batch_size": 32,
            "epochs": 6,
            "schedule": schedule,
            "start": penult.Head(weight=start[0], bias=start[1]),
        },
        detector_l1=1 / (c_sel * 2 * D),
        grid={"up": ups, "l1": [1 / c for c in cs]},
    )

    def weights(rows, up):
        per_epoch = -(-rows.size // 32)
        batches = published.epochs(rows.size, 32, 6 * per_epoch, seed=4)
        head = published.sgd(
            x[rows],
            y[rows],
            batches,
            rate=rate,
            decay=1e-3,
            start=start,
            adamw=True,
            l1=1 / (c_sel * 2 * D),
            anneal_every=per_epoch if schedule == "cosine" else 0,
        )
        wrong = (x[rows] @ head[0].T + head[1]).argmax(axis=1) != y[rows]
        assert 0 < wrong.mean() < 1
        return np.where(wrong, up, 1.0)

    scoring, fitted = halves(len(y), seed=4)
    scores = []
    for up in ups:
        for c in cs:
            fit = liblinear(x[fitted], y[fitted], c, weights(fitted, up))
            scores.append(published.worst_group(fit.predict(x[scoring]), y[scoring], a[scoring]))
    np.testing.assert_allclose([one.score for one in refit.selection.candidates], scores, atol=1e-12)
    chosen = refit.selection.chosen
    assert refit.selection.candidates.index(chosen) == int(np.argmax(scores))
    everything = np.arange(len(y))
    fit = liblinear(x, y, 1 / chosen.values["l1"], weights(everything, chosen.values["up"]))
    np.testing.assert_allclose(margins(refit.head, x), fit.decision_function(x), atol=2e-3)


def test_a_random_start_is_that_of_the_seed(client, sets):
    """As torch begins a linear layer; another seed begins elsewhere, and a head given begins where it says."""

    def refit(start, seed):
        path = {"optimizer": "gd", "learning_rate": 1e-9, "steps": 1, "start": start}
        return client.refit(sets["val"], balance="none", standardize=False, path=path, seed=seed).head

    one, again, other = refit("random", 3), refit("random", 3), refit("random", 4)
    np.testing.assert_array_equal(one.weight, again.weight)
    assert np.abs(one.weight - other.weight).max() > 0.1 * D**-0.5
    assert 0.8 * D**-0.5 < np.abs(one.weight).max() < 1.001 * D**-0.5
    np.testing.assert_allclose(refit(penult.Head(weight=one.weight, bias=one.bias), 3).weight, one.weight, atol=1e-6)


def test_dfr_on_training_rows_is_the_script_s(client, sets, data):
    """One draw scaled by all training rows, seven strengths by thirteen class weights scored on val; ten draws."""
    x, y, _ = wide(data, "train")
    val_x, val_y, val_a = wide(data, "val")
    arguments = {"preset": "dfr_train", "seed": 6, "tolerance": 1e-7, "plan": True}
    tuned = client.refit(sets["train"], select={"on": sets["val"], "final": "chosen"}, **arguments)
    final = client.refit(sets["train"], select={"on": sets["val"]}, **arguments)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    z, seen = (x - mean) / scale, (val_x - mean) / scale
    (rows,) = tuned.plan.row_ids.astype(int)
    pairs = [(1.0, float(w)) for w in (1, 2, 3, 10, 100, 300, 1000)] + [
        (float(w), 1.0) for w in (2, 3, 10, 100, 300, 1000)
    ]
    scores = []
    for c in (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01):
        for pair in pairs:
            fit = liblinear(z[rows], y[rows], c, np.asarray(pair)[y[rows]])
            scores.append(published.worst_group(fit.predict(seen), val_y, val_a))
    np.testing.assert_allclose([one.score for one in tuned.selection.candidates], scores, atol=1e-12)
    best = int(np.argmax(scores))
    for refit in (tuned, final):
        assert refit.selection.candidates.index(refit.selection.chosen) == best, "ties go to the first"
    c, pair = 1 / final.selection.chosen.values["l1"], pairs[best % 13]
    assert final.plan.row_ids.shape[0] == 10
    fits = [liblinear(z[own], y[own], c, np.asarray(pair)[y[own]]) for own in final.plan.row_ids.astype(int)]
    w, b = np.mean([fit.coef_[0] for fit in fits], axis=0), np.mean([fit.intercept_[0] for fit in fits])
    np.testing.assert_allclose(margins(final.head, val_x), seen @ w + b, atol=5e-3)


def test_logit_adjustment_trains_with_log_priors(client, sets, data):
    """On unequal classes, which those of the other tests are not."""
    x, y, a = group_data(400, 20, (0.6, 0.2, 0.05, 0.15))
    mine = client.features.upload(features=x, y=y, a=a)
    x = x.astype(float)
    for tau in (1.0, 0.5):
        refit = client.refit(mine, preset="logit_adjusted", tau=tau, tolerance=1e-9)
        logits = published.minimised(x, y, 1e-3, offset=tau * np.log(np.bincount(y) / len(y)))(x)
        np.testing.assert_allclose(margins(refit.head, x), logits[:, 1] - logits[:, 0], atol=1e-4)


def test_la_prior_conditions_on_what_the_biased_head_predicts(client, sets, data, erm):
    x, y, _ = wide(data, "train")
    refit = client.refit(sets["train"], preset="la_prior", tolerance=1e-9)
    p = softmax(x @ erm.weight.T + erm.bias, axis=1)
    joint = np.stack([p[y == c].sum(axis=0) for c in (0, 1)])
    offset = np.log(joint / joint.sum(axis=0))[:, p.argmax(axis=1)].T
    logits = published.minimised(x, y, 1e-3, offset=offset)(x)
    np.testing.assert_allclose(margins(refit.head, x), logits[:, 1] - logits[:, 0], atol=1e-4)


def test_jtt_is_a_weighted_fit_over_the_stored_head_s_errors(client, sets, data, erm):
    x, y, _ = wide(data, "train")
    refit = client.refit(sets["train"], preset="jtt", tolerance=1e-9)
    wrong = (x @ erm.weight.T + erm.bias).argmax(axis=1) != y
    logits = published.minimised(x, y, 1e-3, weight=np.where(wrong, 20.0, 1.0))(x)
    np.testing.assert_allclose(margins(refit.head, x), logits[:, 1] - logits[:, 0], atol=1e-4)


def test_eiil_infers_environments_by_ascent_and_is_robust_over_them(client, sets, data, erm):
    x, y, _ = wide(data, "train")
    split = published.eiil_split(x @ erm.weight.T + erm.bias, y)
    wrong = (x @ erm.weight.T + erm.bias).argmax(axis=1) != y
    split = split if (split == wrong).mean() > 0.5 else ~split
    assert (split == wrong).mean() == 1.0
    refit = client.refit(sets["train"], preset="eiil")
    optimum = published.worst_risk(x, y, 2 * y + split, 1e-3)
    assert refit.certificate.converged
    assert -1e-6 <= refit.certificate.objective - optimum <= 1e-4 * np.log(2) + 1e-6
    losses = -log_softmax(refit.head.logits(x), axis=1)[np.arange(len(y)), y]
    worst = max(losses[(y == k) & (split == e)].mean() for k in (0, 1) for e in (False, True))
    penalty = 1e-3 / 2 * ((refit.head.weight * x.std(axis=0)) ** 2).sum()
    assert worst + penalty == pytest.approx(refit.certificate.objective, abs=1e-6)
