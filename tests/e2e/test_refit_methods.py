"""Published protocols, written out here with scikit-learn and NumPy, against what the service answers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

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
def biased() -> penult.Head:
    """A head that leans on the attribute."""
    weight = np.zeros((2, D))
    weight[1, :2], weight[0, :2] = (0.3, 0.6), (-0.3, -0.6)
    return penult.Head(weight=weight, bias=np.array([0.05, -0.05]))


@pytest.fixture(scope="module")
def data():
    return {"train": group_data(500, 0), "val": group_data(240, 1), "test": group_data(400, 2, (0.25,) * 4)}


@pytest.fixture(scope="module")
def sets(client, data, biased):
    return {
        name: client.features.upload(features=x, y=y, a=a, head=biased, name=name) for name, (x, y, a) in data.items()
    }


def worst_group(predicted, y, a) -> float:
    return min(accuracy_score(y[(y == k) & (a == b)], predicted[(y == k) & (a == b)]) for k in (0, 1) for b in (0, 1))


def liblinear(x, y, c: float) -> LogisticRegression:
    return LogisticRegression(l1_ratio=1, C=c, solver="liblinear", random_state=0, tol=1e-8, max_iter=5000).fit(x, y)


def test_dfr_of_2022_is_the_script_s(client, sets, data):
    """The script's procedure with liblinear, on the rows that the service says it drew."""
    refit = client.refit(
        sets["val"], preset="dfr_2022", standardize=sets["train"], evaluate={"test": sets["test"]}, plan=True, seed=3
    )
    x, y, a = (part.astype(float) if part.ndim == 2 else part for part in data["val"])
    train = data["train"][0].astype(float)
    mean, scale = train.mean(axis=0), train.std(axis=0)
    chosen = 1 / refit.selection.chosen.values["l1"]
    assert refit.plan.row_ids.shape[0] == 20
    coefficients = []
    for rows in refit.plan.row_ids.astype(int):
        assert len(set(np.bincount(2 * y[rows] + a[rows]))) == 1, "every group alike"
        fit = liblinear((x[rows] - mean) / scale, y[rows], chosen)
        coefficients.append(np.append(fit.coef_[0], fit.intercept_))
    averaged = np.mean(coefficients, axis=0)
    test_x, test_y, test_a = data["test"]
    decision = ((test_x - mean) / scale) @ averaged[:-1] + averaged[-1]
    logits = refit.head.logits(test_x)
    ours = logits[:, 1] - logits[:, 0]
    clear = np.abs(decision) > 0.02
    assert clear.mean() > 0.95
    np.testing.assert_array_equal((ours > 0)[clear], (decision > 0)[clear])
    np.testing.assert_allclose(ours, decision, atol=0.05)
    scored = worst_group(decision > 0, test_y, test_a)
    assert refit.metrics["test"].worst_group_accuracy == pytest.approx(scored, abs=0.02)
    assert refit.certificate.converged


def test_dfr_tunes_on_half_as_the_script_does(client, sets, data):
    """Each candidate of the tuning stage, asked for by itself, scores on the other half as the curve says."""
    x, y, a = data["val"]
    refit = client.refit(sets["val"], preset="dfr_2023", seed=3)
    ends = refit.selection.candidates[0], refit.selection.candidates[-1]
    drawn = client.refit(
        sets["val"],
        preset="dfr_2023",
        seed=3,
        plan=True,
        select={"on": "half", "final": "chosen"},
    )
    rows = drawn.plan.row_ids[0].astype(int)
    assert drawn.plan.row_ids.shape[0] == 1
    # The half that is fitted is the larger; its balanced subset is known, the half that scores by its metrics.
    scaled = x.astype(float)
    mean, scale = scaled[rows].mean(axis=0), scaled[rows].std(axis=0)
    for candidate in ends:
        fit = liblinear((scaled[rows] - mean) / scale, y[rows], 1 / candidate.values["l1"])
        scoring, _ = halves(len(y), seed=3)
        predicted = fit.predict((scaled[scoring] - mean) / scale)
        assert candidate.score == pytest.approx(worst_group(predicted, y[scoring], a[scoring]), abs=1e-12)
    best = max(one.score for one in refit.selection.candidates)
    assert refit.selection.chosen is next(one for one in refit.selection.candidates if one.score == best)


def afr_by_hand(data, biased, *, gamma: float, lam: float, rate: float, steps: int):
    """Stage 2 of AFR in plain NumPy: full-batch steps, clipped to norm 1, the best iterate by worst group on val."""
    (x, y, _), (val_x, val_y, val_a) = data["train"], data["val"]
    x, start = x.astype(float), np.column_stack([biased.weight, biased.bias])
    confidence = softmax(x @ biased.weight.T + biased.bias, axis=1)[np.arange(len(y)), y]
    mu = np.exp(-gamma * confidence) / np.bincount(y)[y]
    mu /= mu.sum()
    ones = np.column_stack([x, np.ones(len(x))])
    theta, best = start.copy(), (-1.0, 0, None)
    for step in range(1, steps + 1):
        p = np.exp(log_softmax(ones @ theta.T, axis=1))
        gradient = (mu[:, None] * (p - np.eye(2)[y])).T @ ones + 2 * lam * (theta - start)
        gradient *= min(1.0, 1.0 / (np.linalg.norm(gradient) + 1e-6))
        theta = theta - rate * gradient
        score = worst_group((val_x @ theta[:, :-1].T + theta[:, -1]).argmax(axis=1), val_y, val_a)
        if score > best[0]:
            best = (score, step, theta.copy())
    return best


def test_afr_follows_its_path_and_keeps_the_best_step(client, sets, data, biased):
    grid = {"gamma": [4.0, 20.0], "l2": [0.0, 0.4]}
    refit = client.refit(
        sets["train"],
        preset="afr",
        grid=grid,
        select={"on": sets["val"]},
        path={"steps": 60, "learning_rate": 0.05},
    )
    found = {tuple(one.values.values()): (one.score, one.step) for one in refit.selection.candidates}
    expected = {
        (gamma, l2): afr_by_hand(data, biased, gamma=gamma, lam=l2 / 2, rate=0.05, steps=60)
        for gamma in grid["gamma"]
        for l2 in grid["l2"]
    }
    for values, (score, step, _) in expected.items():
        assert found[values] == (pytest.approx(score, abs=1e-12), step), values
    theta = expected[tuple(refit.selection.chosen.values.values())][2]
    np.testing.assert_allclose(refit.head.weight, theta[:, :-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(refit.head.bias, theta[:, -1], rtol=1e-4, atol=1e-5)


def softmax_fit(x, y, weight, l2: float):
    """Our objective for two classes is scikit-learn's with C = 2 / (l2 sum of weights)."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    fit = LogisticRegression(C=2 / (l2 * weight.sum()), tol=1e-10, max_iter=5000)
    fit.fit((x - mean) / scale, y, sample_weight=weight)
    return lambda rows: fit.decision_function((rows - mean) / scale)


def test_eiil_is_group_dro_over_the_errors(client, sets, data, biased):
    """For two classes the environments are the errors, so both sources give one answer, and its groups are alike."""
    eiil = client.refit(sets["train"], preset="eiil")
    errors = client.refit(sets["train"], preset="group_dro", groups="errors")
    np.testing.assert_allclose(eiil.head.weight, errors.head.weight, rtol=1e-12)
    x, y, _ = data["train"]
    wrong = (x @ biased.weight.T + biased.bias).argmax(axis=1) != y
    losses = -log_softmax(eiil.head.logits(x), axis=1)[np.arange(len(y)), y]
    means = [losses[(y == k) & (wrong == w)].mean() for k in (0, 1) for w in (False, True)]
    assert eiil.certificate.converged
    assert eiil.certificate.objective >= max(means) - 1e-6


def test_group_dro_lowers_the_largest_loss_of_a_group(client, sets, data):
    x, y, a = data["train"]
    largest = {}
    for preset in ("erm", "group_dro"):
        refit = client.refit(sets["train"], preset=preset)
        assert refit.certificate.converged
        losses = -log_softmax(refit.head.logits(x), axis=1)[np.arange(len(y)), y]
        largest[preset] = max(losses[(y == k) & (a == b)].mean() for k in (0, 1) for b in (0, 1))
    assert 0 <= refit.certificate.gap <= 1e-4 * np.log(2)
    assert largest["group_dro"] < 0.95 * largest["erm"]


def test_a_class_prior_offset_is_a_shift_of_the_bias(client, sets, data):
    erm = client.refit(sets["train"], preset="erm", tolerance=1e-8)
    adjusted = client.refit(sets["train"], preset="logit_adjusted", tolerance=1e-8)
    shares = np.bincount(data["train"][1]) / len(data["train"][1])
    np.testing.assert_allclose(adjusted.head.weight, erm.head.weight, atol=1e-4)
    shift = (erm.head.bias - adjusted.head.bias) - np.log(shares)
    np.testing.assert_allclose(shift - shift.mean(), 0, atol=1e-4)


def test_self_takes_the_rows_of_largest_loss_and_disagreement(client, sets, data, biased):
    x, y, a = data["val"]
    losses = -log_softmax(x @ biased.weight.T + biased.bias, axis=1)[np.arange(len(y)), y]
    path = {"steps": 5}
    top = client.refit(sets["val"], preset="self", top_k=20, plan=True, path=path, select=chosen_on_test(sets))
    assert set(top.plan.row_ids[0].tolist()) == set(np.argsort(-losses)[:20].tolist())
    other = client.features.upload(
        features=x, y=y, a=a, head=penult.Head(weight=biased.weight[::-1].copy(), bias=biased.bias), name="early"
    )
    disputed = client.refit(
        sets["val"],
        preset="self_disagreement",
        other=other,
        top_k=15,
        plan=True,
        path=path,
        select=chosen_on_test(sets),
    )
    q, p = (softmax(x @ head.T + biased.bias, axis=1) for head in (biased.weight[::-1], biased.weight))
    divergence = (q * np.log(q / p)).sum(axis=1)
    assert set(disputed.plan.row_ids[0].tolist()) == set(np.argsort(-divergence)[:15].tolist())


def chosen_on_test(sets):
    return {"on": sets["test"], "metric": "worst_group"}


@pytest.mark.parametrize("name", ["class_balanced", "dfr", "dfr_l2", "self", "jtt", "eiil", "la_prior"])
def test_what_a_preset_sets_can_be_said_instead_of_its_name(client, sets, name: str):
    """The arguments that `presets` lists give the head that the name gives, bit for bit."""
    (preset,) = [one for one in client.presets() if one.name == name]
    common = {"rows": np.arange(200, dtype=np.uint64)} if name == "dfr_l2" else {}
    grid = {"grid": preset.sets["grid"] | {"top_k": [20, 50]}} if name == "self" else {}
    named = client.refit(sets["val"], preset=name, **common, **grid)
    said = client.refit(sets["val"], **{**preset.sets, **common, **grid})
    np.testing.assert_array_equal(said.head.weight, named.head.weight)
    np.testing.assert_array_equal(said.head.bias, named.head.bias)


def test_thirty_two_clients_at_once_get_their_own_answers(client, sets, data):
    """Each asks for another penalty over a connection of its own; one asks for what cannot be."""
    root = client.info().root
    penalties = np.logspace(-3, 0, 31)
    clients = [penult.local(root) for _ in range(32)]

    def ask(place: int) -> penult.Refit | penult.PenultError:
        arguments = {"l2": penalties[place]} if place < 31 else {"preset": "dfr", "rows": np.array([10**6])}
        return clients[place].refits([{"features": sets["val"], **arguments}])[0]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(32)))
    for one in clients:
        one.close()
    assert isinstance(answers[31], penult.InvalidRequest)
    x, y, _ = data["val"]
    for l2, refit in zip(penalties[::6], answers[:31:6], strict=True):
        decide = softmax_fit(x.astype(float), y, np.ones(len(y)), l2)
        logits = refit.head.logits(data["test"][0])
        assert refit.settings.l2 == l2
        # A gap of 7e-5 leaves a head within sqrt(2 gap / l2), which bounds every logit.
        apart = np.abs(logits[:, 1] - logits[:, 0] - decide(data["test"][0].astype(float))).max()
        assert apart <= 2 * np.sqrt(2 * refit.certificate.gap / l2) * 8 + 1e-6


def test_the_line_between_two_heads_is_exact(client, sets, biased):
    refit = client.refit(sets["val"], preset="dfr_l2")
    curve = client.interpolate(biased, refit, sets["test"], steps=5)
    assert curve.metrics[0].correct.tolist() == client.evaluate(biased, sets["test"]).correct.tolist()
    assert curve.metrics[-1].correct.tolist() == client.evaluate(refit, sets["test"]).correct.tolist()
    middle = client.evaluate(penult.soup([biased, refit.head]), sets["test"])
    assert curve.metrics[2].correct.tolist() == middle.correct.tolist()
    assert curve.metrics[2].loss == pytest.approx(middle.loss, rel=1e-12)


def test_explicit_rows_and_weights(client, sets, data):
    """Weight 0 is a row left out."""
    kept = np.arange(0, 240, 2)
    weights = np.zeros(240)
    weights[kept] = 3.0
    by_rows = client.refit(sets["val"], rows=kept, l2=0.1, standardize=False, tolerance=1e-8)
    by_weight = client.refit(sets["val"], weights=weights, l2=0.1, standardize=False, tolerance=1e-8)
    np.testing.assert_allclose(by_rows.head.weight, by_weight.head.weight, atol=1e-4)
    assert by_rows.n_rows == 120
    from_head = client.refit(sets["val"], l2=1e4, center=by_rows, intercept="penalized", standardize=False)
    np.testing.assert_allclose(from_head.head.weight, by_rows.head.weight, atol=1e-3)


def test_the_protocols_of_the_readme(client, sets):
    """The lines of the client's README as they stand."""
    text = (Path(__file__).parents[2] / "client" / "README.md").read_text()
    block = text.split("<!-- protocols -->\n```python\n")[1].split("```")[0]
    names = {"client": client, "sets": sets}
    exec(block, names)
    assert names["dfr"].selection is not None
    assert len(names["afr"].selection.candidates) == 132
