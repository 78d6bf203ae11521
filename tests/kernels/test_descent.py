"""Paths of descent against torch's own optimisers, step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from penult_kernels.arrays import to_host
from penult_kernels.linear.solve import Head, Intercept, Link, Problem, Scaler, Standardize
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import Keep, Optimizer, Schedule, TrajectorySettings, Watch

N, D = 40, 6


def sample(rng, n_classes: int):
    y = rng.permutation(np.arange(N) % n_classes)
    features = rng.standard_normal((N, D)) + rng.standard_normal((n_classes, D))[y]
    return features, y


def head(rng, n_classes: int, size: float = 0.5) -> Head:
    return Head(weight=size * rng.standard_normal((n_classes, D)), bias=size * rng.standard_normal(n_classes))


def torch_path(features, y, n_classes: int, problem: Problem, one: TrajectorySettings):
    """The same path with torch: modules, autograd, its optimisers and its clipping; heads after every step."""
    rows = np.arange(N) if problem.rows is None else problem.rows
    x = torch.tensor(features[rows])
    labels = torch.tensor(y[rows])
    share = np.ones(rows.size) if problem.weight is None else problem.weight
    share = torch.tensor(share / share.sum())
    model = torch.nn.Linear(D, n_classes, dtype=torch.float64)
    begin = problem.start or problem.center or Head(weight=np.zeros((n_classes, D)), bias=np.zeros(n_classes))
    center = problem.center or Head(weight=np.zeros((n_classes, D)), bias=np.zeros(n_classes))
    with torch.no_grad():
        model.weight.copy_(torch.tensor(begin.weight))
        model.bias.copy_(torch.tensor(begin.bias))
    if one.optimizer is Optimizer.ADAMW:
        optimizer = torch.optim.AdamW(model.parameters(), lr=one.learning_rate, weight_decay=one.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), lr=one.learning_rate, momentum=one.momentum, weight_decay=one.weight_decay
        )
    per_epoch = 1 if one.batch_size is None else -(-rows.size // one.batch_size)
    scheduler = None
    if one.schedule is Schedule.COSINE:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, -(-one.steps // per_epoch))
    generator = np.random.default_rng(one.seed)
    left = np.zeros(0, int)
    path = []
    for step in range(1, one.steps + 1):
        batch = np.arange(rows.size)
        if one.batch_size is not None and one.sampler is not None:
            batch = generator.choice(rows.size, size=one.batch_size, p=one.sampler / one.sampler.sum())
        elif one.batch_size is not None:
            if left.size == 0:
                left = generator.permutation(rows.size)
            batch, left = left[: one.batch_size], left[one.batch_size :]
        losses = torch.nn.functional.cross_entropy(model(x[batch]), labels[batch], reduction="none")
        loss = (losses * share[batch]).sum() * rows.size / len(batch)
        moved = model.weight - torch.tensor(center.weight)
        loss = loss + problem.l1 * moved.abs().sum() + problem.l2 / 2 * (moved**2).sum()
        if problem.intercept is Intercept.PENALIZED:
            off = model.bias - torch.tensor(center.bias)
            loss = loss + problem.l1 * off.abs().sum() + problem.l2 / 2 * (off**2).sum()
        optimizer.zero_grad()
        loss.backward()
        if one.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), one.clip_norm)
        optimizer.step()
        if scheduler is not None and step % per_epoch == 0:
            scheduler.step()
        path.append((model.weight.detach().numpy().copy(), model.bias.detach().numpy().copy()))
    return path


GD = TrajectorySettings(learning_rate=0.3, steps=12)
SETTINGS = {
    "gd": GD,
    "clipped": replace(GD, clip_norm=0.05),
    "momentum and decay": replace(GD, momentum=0.9, weight_decay=0.1, learning_rate=0.05),
    "sgd": replace(GD, optimizer=Optimizer.SGD, batch_size=7, seed=3),
    "sampled": replace(GD, optimizer=Optimizer.SGD, batch_size=7, seed=3, sampler=np.arange(1.0, N + 1)),
    "adamw": TrajectorySettings(optimizer=Optimizer.ADAMW, learning_rate=0.05, steps=12, weight_decay=0.1),
}
SETTINGS |= {f"{name}, cosine": replace(SETTINGS[name], schedule=Schedule.COSINE) for name in ("gd", "sgd", "adamw")}


@pytest.mark.parametrize("name", list(SETTINGS))
@pytest.mark.parametrize("n_classes", [2, 3])
def test_equals_torch(rng, name: str, n_classes: int):
    features, y = sample(rng, n_classes)
    center, start = head(rng, n_classes), head(rng, n_classes)
    one = SETTINGS[name]
    weight = rng.random(N)
    problems = [
        Problem(l2=0.1),
        Problem(l2=0.2, weight=weight, intercept=Intercept.PENALIZED, center=center),
        Problem(l2=0.2, center=center, start=start),
        Problem(l1=0.01, start=start),
    ]
    fits = descend(features, y, n_classes, problems, [one] * len(problems))
    for problem, fit in zip(problems, fits, strict=True):
        expected_weight, expected_bias = torch_path(features, y, n_classes, problem, one)[-1]
        np.testing.assert_allclose(fit.weight, expected_weight, atol=1e-9)
        np.testing.assert_allclose(fit.bias, expected_bias, atol=1e-9)
        assert fit.step == one.steps


def test_epochs_of_a_schedule_are_those_of_the_batches(rng):
    """AdamW on batches of 9 of 40 rows: the last epoch is cut short."""
    features, y = sample(rng, 3)
    one = replace(SETTINGS["adamw, cosine"], batch_size=9, steps=23)
    fit = descend(features, y, 3, [Problem(l2=0.1)], [one])[0]
    np.testing.assert_allclose(fit.weight, torch_path(features, y, 3, Problem(l2=0.1), one)[-1][0], atol=1e-9)


def test_paths_of_other_schedules_are_followed_apart(rng):
    features, y = sample(rng, 2)
    settings = [SETTINGS["gd"], SETTINGS["gd, cosine"]]
    for one, fit in zip(settings, descend(features, y, 2, [Problem(l2=0.1)] * 2, settings), strict=True):
        np.testing.assert_allclose(fit.weight, torch_path(features, y, 2, Problem(l2=0.1), one)[-1][0], atol=1e-9)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_float32_features_are_followed_in_float32(rng, name: str):
    features, y = sample(rng, 3)
    narrow = features.astype(np.float32)
    fit = descend(narrow, y, 3, [Problem(l2=0.1)], [SETTINGS[name]])[0]
    expected = torch_path(narrow.astype(float), y, 3, Problem(l2=0.1), SETTINGS[name])[-1][0]
    np.testing.assert_allclose(fit.weight, expected, atol=2e-5)


def test_different_seeds_and_rows_go_their_own_ways(rng):
    features, y = sample(rng, 2)
    rows = np.arange(0, N, 2)
    problems = [Problem(l2=0.1), Problem(l2=0.1, rows=rows), Problem(l2=0.1)]
    settings = [replace(SETTINGS["sgd"], seed=seed) for seed in (0, 0, 1)]
    fits = descend(features, y, 2, problems, settings)
    for problem, one, fit in zip(problems, settings, fits, strict=True):
        np.testing.assert_allclose(fit.weight, torch_path(features, y, 2, problem, one)[-1][0], atol=1e-9)


def test_keeps_the_best_and_every(rng):
    features, y = sample(rng, 3)
    problem, other = Problem(l2=0.1), Problem(l2=0.5)
    path = torch_path(features, y, 3, problem, GD)

    wanted = features @ path[4][0].T + path[4][1]

    def score(positions, logits):
        # Highest where the logits are nearest to those reached after five steps.
        return -np.abs(logits - wanted[:, None, :]).max(axis=(0, 2))

    best = [replace(GD, keep=Keep.BEST), replace(GD, keep=Keep.EVERY, every=5)]
    kept, every = descend(features, y, 3, [problem, other], best, watch=Watch(features=features, score=score))
    assert kept.step == 5
    np.testing.assert_allclose(kept.weight, path[4][0], atol=1e-12)
    assert kept.score == kept.scores.max()
    assert [step for step, _, _ in every.kept] == [5, 10, 12]
    other_path = torch_path(features, y, 3, other, GD)
    for step, weight, _ in every.kept:
        np.testing.assert_allclose(weight, other_path[step - 1][0], atol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["gd", "clipped", "momentum and decay", "sgd"])
def test_fewer_rows_than_columns(rng, name: str, n_classes: int):
    """The path in the span of the rows is the same path."""
    features, y = sample(rng, n_classes)
    wide = np.concatenate([features, rng.standard_normal((N, 60 - D))], axis=1)
    one = replace(SETTINGS[name], steps=5)
    turned = descend(wide, y, n_classes, [Problem(l2=0.1)], [one])[0]
    start = Head(weight=np.zeros((n_classes, 60)), bias=np.full(n_classes, 1e-9))
    plain = descend(wide, y, n_classes, [Problem(l2=0.1, start=start)], [one])[0]
    np.testing.assert_allclose(turned.weight, plain.weight, atol=1e-7)


@pytest.mark.parametrize("width", [D, 60])
@pytest.mark.parametrize("link", [Link.SOFTMAX, Link.OVR])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_watched_logits_are_those_of_the_heads(rng, width: int, link: Link, n_classes: int):
    features, y = sample(rng, n_classes)
    features = np.concatenate([features, rng.standard_normal((N, width - D))], axis=1)
    unseen = rng.standard_normal((11, width))
    center = Head(weight=rng.standard_normal((n_classes, width)), bias=rng.standard_normal(n_classes))
    problems = [Problem(l2=0.1, link=link, standardize=Standardize.ROWS), Problem(l2=0.1, link=link, center=center)]
    for problem in problems:
        watched = []

        def look(_, outputs, into=watched):
            into.append(outputs[:, 0])
            return np.zeros(1)

        every = [replace(GD, keep=Keep.EVERY, steps=3)]
        (fit,) = descend(features, y, n_classes, [problem], every, watch=Watch(features=unseen, score=look))
        logits = [unseen @ weight.T + bias for _, weight, bias in fit.kept]
        expected = [each[:, 1] - each[:, 0] if n_classes == 2 else each for each in logits]
        np.testing.assert_allclose(watched, expected, atol=1e-10)


def test_paths_of_different_rows_are_watched_on_their_own(rng):
    features, y = sample(rng, 2)
    unseen = [rng.standard_normal((m, D)) for m in (5, 9)]

    def watch(rows):
        return Watch(features=rows, score=lambda positions, margins: positions + margins.mean(axis=0))

    problems = [Problem(l2=l2) for l2 in (0.1, 0.3, 0.2)]
    one = replace(GD, steps=4)
    watches = [watch(unseen[0]), None, watch(unseen[1])]
    fits = descend(features, y, 2, problems, [one] * 3, watch=watches)
    assert fits[1].scores.size == 0
    for k, rows in ((0, unseen[0]), (2, unseen[1])):
        margins = rows @ (fits[k].weight[1] - fits[k].weight[0]) + fits[k].bias[1] - fits[k].bias[0]
        assert fits[k].scores.shape == (4,)
        assert fits[k].score == pytest.approx(k + margins.mean(), abs=1e-12)


@pytest.mark.parametrize("name", ["gd", "momentum and decay", "sgd", "sampled", "adamw"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_streams_of_minibatches_and_paths_that_leave(rng, name: str, n_classes: int):
    """Seeds that draw alike share a stream; a path that is not wanted any more stops, the others go their ways."""
    features, y = sample(rng, n_classes)
    weight = rng.random(N)
    problems = [Problem(l2=0.1), Problem(l2=0.2, weight=weight), Problem(l2=0.3), Problem(l1=0.01, weight=weight)]
    settings = [replace(SETTINGS[name], seed=seed, steps=40, learning_rate=0.02) for seed in (0, 1, 0, 1)]
    steps = 0

    def check() -> None:
        nonlocal steps
        steps += 1

    fits = descend(
        features, y, n_classes, problems, settings, check=check, is_wanted=lambda index: steps < 20 or index in (1, 3)
    )
    for index, (problem, one, fit) in enumerate(zip(problems, settings, fits, strict=True)):
        path = torch_path(features, y, n_classes, problem, one)
        assert fit.step == 40 if index in (1, 3) else fit.step < 40
        np.testing.assert_allclose(fit.weight, path[fit.step - 1][0], atol=1e-9)


def test_a_standardised_path_is_that_of_standardised_features(rng):
    features, y = sample(rng, 2)
    features = features * np.linspace(0.1, 9, D) + 3
    mean, scale = features.mean(axis=0), features.std(axis=0)
    inside = descend((features - mean) / scale, y, 2, [Problem(l2=0.1)], [GD])[0]
    for standardize in (Standardize.ROWS, Scaler(mean=mean, scale=scale)):
        fit = descend(features, y, 2, [Problem(l2=0.1, standardize=standardize)], [GD])[0]
        np.testing.assert_allclose(fit.weight, inside.weight / scale, atol=1e-12)
        np.testing.assert_allclose(fit.bias, inside.bias - inside.weight / scale @ mean, atol=1e-12)


def test_one_against_the_rest_are_binary_paths(rng):
    features, y = sample(rng, 3)
    fit = descend(features, y, 3, [Problem(l2=0.1, link=Link.OVR)], [GD])[0]
    for k in range(3):
        binary = descend(features, (y == k).astype(int), 2, [Problem(l2=0.1, link=Link.OVR)], [GD])[0]
        np.testing.assert_allclose(fit.weight[k], binary.weight[1] - binary.weight[0], atol=1e-12)


def test_a_path_does_not_depend_on_its_company(rng):
    features, y = sample(rng, 3)
    problems = [Problem(l2=l2, intercept=Intercept.PENALIZED) for l2 in (0.0, 0.1, 0.4)]
    settings = [replace(GD, learning_rate=rate, clip_norm=1.0) for rate in (0.1, 0.2, 0.3)]
    together = descend(features, y, 3, problems, settings)
    for problem, one, fit in zip(problems, settings, together, strict=True):
        alone = descend(features, y, 3, [problem], [one])[0]
        # Products of different widths add in a different order: equal to rounding.
        np.testing.assert_allclose(fit.weight, alone.weight, rtol=0, atol=1e-13)


def test_runs_alike_on_every_backend(backend, rng):
    features, y = sample(rng, 3)
    for one in (GD, SETTINGS["adamw"], SETTINGS["sgd"]):
        found = descend(backend.array(features), backend.array(y), 3, [Problem(l2=0.1)], [one])[0]
        assert backend.owns(found.weight)
        expected = descend(features, y, 3, [Problem(l2=0.1)], [one])[0]
        np.testing.assert_allclose(to_host(found.weight), expected.weight, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0},
        {"steps": 0},
        {"momentum": 1.0},
        {"clip_norm": 0.0},
        {"batch_size": 4},
        {"optimizer": Optimizer.SGD},
        {"weight_decay": -1.0},
    ],
)
def test_refuses_settings_that_make_no_sense(change):
    with pytest.raises(ValueError):
        replace(GD, **change)


def test_a_path_that_explodes_says_so_and_leaves_the_others_alone(rng):
    features, y = sample(rng, 2)
    calm, wild = (TrajectorySettings(learning_rate=rate, steps=100) for rate in (1e-3, 100.0))
    with np.errstate(all="ignore"):
        paths = descend(features, y, 2, [Problem(l2=100.0)] * 3, [calm, wild, calm])
    assert [path.diverged for path in paths] == [False, True, False]
    (alone,) = descend(features, y, 2, [Problem(l2=100.0)], [calm])
    np.testing.assert_allclose(to_host(paths[2].weight), to_host(alone.weight), rtol=1e-6)


def test_the_best_needs_a_score(rng):
    features, y = sample(rng, 2)
    with pytest.raises(ValueError, match="watch"):
        descend(features, y, 2, [Problem()], [replace(GD, keep=Keep.BEST)])
    with pytest.raises(ValueError, match="one for each problem"):
        descend(features, y, 2, [Problem()], [GD], watch=[None, None])
