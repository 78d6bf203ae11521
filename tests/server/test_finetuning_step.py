"""Single optimiser steps of a linear model against formulas written in NumPy, and of a ViT against itself."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from penult_server.backbones.classifier import Classifier
from penult_server.backbones.images.preprocessing import ImagePreprocessing
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.examples import Part, TrainingBatch, shares_of
from penult_server.finetuning.losses import CVaRDRO, GroupDRO, Robust
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.step import Stepper, frozen_statistics
from penult_server.finetuning.world import World

CPU = torch.device("cpu")
N, C, D = 8, 2, 48
RATE = 0.1
SGD = FinetuneConfig(
    backbone="test_vit", epochs=1, optimizer="sgd", learning_rate=RATE, weight_decay=0.0, momentum=0.0, batch_size=N
)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (N, 4, 4, 3), dtype=np.uint8)
X = ((PIXELS / 255.0 - 0.5) / 0.5).transpose(0, 3, 1, 2).reshape(N, D)
Y = np.array([0, 1, 1, 0, 1, 0, 0, 1])
G = np.array([0, 2, 3, 1, 3, 0, 0, 2])
ONES = np.ones(N)
Parameters = tuple[NDArray[np.float64], NDArray[np.float64]]
START: Parameters = np.linspace(-0.3, 0.3, C * D).reshape(C, D), np.array([0.1, -0.2])


def linear_model() -> Classifier:
    head = torch.nn.Linear(D, C)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(START[0]))
        head.bias.copy_(torch.from_numpy(START[1]))
    preprocessing = ImagePreprocessing(size=4, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
    return Classifier(
        name="linear",
        library="timm",
        module=torch.nn.Sequential(torch.nn.Flatten(), head),
        head=head,
        head_name="1",
        preprocessing=preprocessing,
    )


def batch_of(
    rows: NDArray[np.int64] | list[int], weights: NDArray[np.float64] = ONES, *, accumulate: int = 1, pixels=PIXELS
) -> TrainingBatch:
    rows = np.asarray(rows)
    scaled = (weights[rows] / weights[rows].sum()).astype(np.float32)
    parts = [
        Part(items=[pixels[row] for row in rows[share]], y=Y[rows[share]], g=G[rows[share]], weights=scaled[share])
        for share in shares_of(len(rows), accumulate, World())
    ]
    return TrainingBatch(parts=parts, partners=[])


def stepper_of(config: FinetuneConfig, classifier: Classifier | None = None) -> Stepper:
    return Stepper(classifier or linear_model(), config, group_counts=np.bincount(G, minlength=4), device=CPU)


def stepped(config: FinetuneConfig, *batches: TrainingBatch) -> Parameters:
    """Weight and bias after the steps."""
    classifier = linear_model()
    stepper = stepper_of(config, classifier)
    for step, batch in enumerate(batches):
        stepper.step(batch, step)
    return classifier.head.weight.detach().numpy(), classifier.head.bias.detach().numpy()


def losses_of(parameters: Parameters, x: NDArray[np.float64] = X, y: NDArray[np.int64] = Y) -> NDArray[np.float64]:
    return -log_softmax(x @ parameters[0].T + parameters[1], axis=1)[np.arange(len(y)), y]


def gradient(
    parameters: Parameters, weights: NDArray[np.float64], x: NDArray[np.float64] = X, targets=None
) -> Parameters:
    """Of sum_i w_i CE_i."""
    targets = np.eye(C)[Y] if targets is None else targets
    residual = weights[:, None] * (softmax(x @ parameters[0].T + parameters[1], axis=1) - targets)
    return residual.T @ x, residual.sum(axis=0)


def moved(parameters: Parameters, direction: Parameters, by: float) -> Parameters:
    return parameters[0] + by * direction[0], parameters[1] + by * direction[1]


def assert_close(got: Parameters, expected: Parameters) -> None:
    for one, other in zip(got, expected, strict=True):
        assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def test_a_weighted_step_is_the_formula_s() -> None:
    weights = np.array([1.0, 2.0, 3.0, 1.0, 5.0, 1.0, 0.5, 1.0])
    expected = moved(START, gradient(START, weights / weights.sum()), -RATE)
    assert_close(stepped(SGD, batch_of(range(N), weights)), expected)


def test_weight_two_is_the_example_twice() -> None:
    weights = np.array([1.0, 2.0, 3.0, 1.0])
    pad = np.r_[weights, np.ones(N - 4)]
    once = stepped(SGD, batch_of([0, 1, 2, 3], pad))
    assert_close(once, stepped(SGD, batch_of([0, 1, 1, 2, 2, 2, 3])))


def test_momentum_is_really_applied() -> None:
    """v <- m v + gradient, w <- w - rate v (torch's convention, no dampening)."""
    halves = [np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7]), np.array([1, 3, 5, 7])]
    parameters, velocity = START, (np.zeros((C, D)), np.zeros(C))
    for rows in halves:
        weights = np.isin(np.arange(N), rows) / 4
        velocity = moved(gradient(parameters, weights), velocity, 0.9)
        parameters = moved(parameters, velocity, -RATE)
    got = stepped(replace(SGD, momentum=0.9), *(batch_of(rows) for rows in halves))
    assert_close(got, parameters)
    without = stepped(SGD, *(batch_of(rows) for rows in halves))
    assert np.abs(without[0] - got[0]).max() > 1e-3


@pytest.mark.parametrize("decay_all", [False, True])
def test_adamw_decays_the_weight_and_the_bias_only_when_asked(decay_all: bool) -> None:
    """Loshchilov and Hutter 2019, algorithm 2, with the defaults of Adam."""
    decay, (b1, b2, eps) = 0.5, (0.9, 0.999, 1e-8)
    parameters = list(START)
    first, second = [0.0, 0.0], [0.0, 0.0]
    for t in (1, 2):
        for index, slope in enumerate(gradient((parameters[0], parameters[1]), ONES / N)):
            first[index] = b1 * first[index] + (1 - b1) * slope
            second[index] = b2 * second[index] + (1 - b2) * slope**2
        for index, decays in enumerate((True, decay_all)):
            shrunk = parameters[index] * (1 - RATE * decay * decays)
            ratio = (first[index] / (1 - b1**t)) / (np.sqrt(second[index] / (1 - b2**t)) + eps)
            parameters[index] = shrunk - RATE * ratio
    config = replace(SGD, optimizer="adamw", weight_decay=decay, decay_all=decay_all)
    got = stepped(config, batch_of(range(N)), batch_of(range(N)))
    for one, other in zip(got, parameters, strict=True):
        assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_a_clipped_gradient_keeps_its_direction() -> None:
    slope = gradient(START, ONES / N)
    norm = np.sqrt((slope[0] ** 2).sum() + (slope[1] ** 2).sum())
    assert_close(stepped(replace(SGD, clip_norm=norm / 3), batch_of(range(N))), moved(START, slope, -RATE / 3))
    assert_close(stepped(replace(SGD, clip_norm=norm * 3), batch_of(range(N))), moved(START, slope, -RATE))


def test_label_smoothing_spreads_the_targets() -> None:
    targets = 0.7 * np.eye(C)[Y] + 0.3 / C
    config = replace(SGD, objective=Objective(label_smoothing=0.3))
    expected = moved(START, gradient(START, ONES / N, targets=targets), -RATE)
    assert_close(stepped(config, batch_of(range(N))), expected)


def test_mixup_mixes_images_and_losses() -> None:
    partner, mix = np.array([3, 0, 1, 2, 7, 6, 5, 4]), 0.3
    weights = np.array([1.0, 2.0, 3.0, 1.0, 5.0, 1.0, 0.5, 1.0])
    weights /= weights.sum()
    batch = batch_of(range(N), weights)
    partners = batch_of(partner, weights).parts
    got = stepped(SGD, TrainingBatch(parts=batch.parts, partners=partners, mix=mix))
    x = mix * X + (1 - mix) * X[partner]
    own = gradient(START, mix * weights, x)
    other = gradient(START, (1 - mix) * weights[partner], x, targets=np.eye(C)[Y[partner]])
    assert_close(got, moved(moved(START, own, -RATE), other, -RATE))


def test_sam_takes_the_gradient_of_the_worst_neighbour() -> None:
    radius = 0.5
    slope = gradient(START, ONES / N)
    norm = np.sqrt((slope[0] ** 2).sum() + (slope[1] ** 2).sum())
    at_neighbour = gradient(moved(START, slope, radius / norm), ONES / N)
    config = replace(SGD, objective=Objective(sam=radius))
    assert_close(stepped(config, batch_of(range(N))), moved(START, at_neighbour, -RATE))


def test_group_dro_follows_the_algorithm() -> None:
    """Two steps; the second batch has no example of group 1."""
    rate, adjustment = 0.7, 2.0
    counts = np.bincount(G, minlength=4)
    q, parameters = np.full(4, 0.25), START
    for rows in (np.arange(N), np.array([0, 1, 2, 4, 7])):
        losses = losses_of(parameters)
        weights = np.zeros(N)
        for group in range(4):
            members = rows[G[rows] == group]
            mean = losses[members].mean() if len(members) else 0.0
            q[group] *= np.exp(rate * (mean + adjustment / np.sqrt(counts[group])))
        q /= q.sum()
        for row in rows:
            weights[row] = q[G[row]] / (G[rows] == G[row]).sum()
        parameters = moved(parameters, gradient(parameters, weights), -RATE)
    objective = Objective(loss="group_dro", group_dro_rate=rate, group_dro_adjustment=adjustment)
    got = stepped(replace(SGD, objective=objective), batch_of(range(N)), batch_of([0, 1, 2, 4, 7]))
    assert_close(got, parameters)


def test_a_group_without_examples_has_no_part_in_group_dro() -> None:
    dro = GroupDRO(np.array([3, 0, 1]), rate=1.0, adjustment=1.0, device=CPU)
    dro.weights(torch.tensor([1.0, 2.0]), torch.tensor([0, 2]), torch.tensor([0.5, 0.5]).double())
    assert dro.state["q"][1] == 0
    assert float(dro.state["q"].sum()) == pytest.approx(1)


@pytest.mark.parametrize("fraction", [0.05, 0.25, 0.3, 0.71, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cvar_is_the_minimum_over_thresholds(fraction: float, weighted: bool) -> None:
    """Rockafellar and Uryasev 2000: CVaR = min_t  t + E(max(l - t, 0)) / fraction, the mean weighted by the shares."""
    rng = np.random.default_rng(1)
    losses = rng.exponential(size=10)
    shares = rng.dirichlet(np.ones(10)) if weighted else np.full(10, 0.1)
    no_groups = torch.zeros(10, dtype=torch.int64)
    weights = CVaRDRO(fraction).weights(torch.from_numpy(losses), no_groups, torch.from_numpy(shares)).numpy()
    assert weights.sum() == pytest.approx(1)
    assert (weights <= shares / fraction + 1e-12).all()
    # The minimum lies at a kink, which is one of the losses.
    best = min(t + np.maximum(losses - t, 0) @ shares / fraction for t in losses)
    assert weights @ losses == pytest.approx(best, rel=1e-12)
    if fraction == 1.0:
        assert_allclose(weights, shares, rtol=1e-12)


def robust_weights(robust: Robust, rows: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    losses = np.exp(np.linspace(-1.0, 1.0, N))
    given = torch.from_numpy(losses[rows]), torch.from_numpy(G[rows]), torch.from_numpy(shares / shares.sum())
    return robust.weights(*given).numpy()


@pytest.mark.parametrize(
    "robust",
    [
        lambda: CVaRDRO(0.3),
        lambda: GroupDRO(np.bincount(G, minlength=4), rate=0.5, adjustment=1.0, device=CPU),
    ],
)
def test_robust_objectives_take_a_weight_of_k_for_the_example_k_times(robust: Callable[[], Robust]) -> None:
    times = np.array([1, 3, 2, 1, 1, 4, 1, 2])
    once = robust_weights(robust(), np.arange(N), times.astype(float))
    rows = np.repeat(np.arange(N), times)
    repeated = robust_weights(robust(), rows, np.ones(len(rows)))
    assert_allclose(once, np.bincount(rows, weights=repeated, minlength=N), atol=1e-12)


def test_group_dro_without_a_rate_is_the_mean_of_the_groups_means() -> None:
    objective = Objective(loss="group_dro", group_dro_rate=0.0)
    weights = 1 / (4 * np.bincount(G, minlength=4)[G])
    assert_close(
        stepped(replace(SGD, objective=objective), batch_of(range(N))), moved(START, gradient(START, weights), -RATE)
    )


def test_a_cvar_step_looks_at_the_worst_examples_alone() -> None:
    worst = np.argsort(losses_of(START))[-2:]
    weights = np.isin(np.arange(N), worst) / 2
    config = replace(SGD, objective=Objective(loss="cvar_dro", cvar_fraction=0.25))
    assert_close(stepped(config, batch_of(range(N))), moved(START, gradient(START, weights), -RATE))


def vit() -> Classifier:
    torch.manual_seed(0)
    module = timm.create_model("test_vit", num_classes=C, img_size=32)
    preprocessing = ImagePreprocessing(size=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
    return Classifier(
        name="test_vit", library="timm", module=module, head=module.head, head_name="head", preprocessing=preprocessing
    )


IMAGES = RNG.integers(0, 256, (N, 32, 32, 3), dtype=np.uint8)


def vit_step(config: FinetuneConfig, batch: TrainingBatch, *, classifier: Classifier | None = None):
    classifier = classifier or vit()
    classifier.module.train()
    loss = stepper_of(config, classifier).step(batch, 0)
    return float(loss), {name: value.detach().numpy() for name, value in classifier.module.named_parameters()}


@pytest.mark.parametrize("accumulate", [2, 3, N])
@pytest.mark.parametrize("objective", [Objective(), Objective(label_smoothing=0.1, sam=0.05)])
def test_parts_add_up_to_the_batch(accumulate: int, objective: Objective) -> None:
    """With weights that differ, so that means of parts would not do."""
    weights = np.array([1.0, 9.0, 3.0, 1.0, 5.0, 1.0, 0.5, 1.0])
    config = replace(SGD, objective=objective)
    loss, whole = vit_step(config, batch_of(range(N), weights, pixels=IMAGES))
    batch = batch_of(range(N), weights, accumulate=accumulate, pixels=IMAGES)
    assert len(batch.parts) == accumulate
    summed, parts = vit_step(config, batch)
    assert summed == pytest.approx(loss, rel=1e-5)
    for name, value in whole.items():
        assert_allclose(parts[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_takes_nearly_the_same_step(precision: str) -> None:
    loss, exact = vit_step(SGD, batch_of(range(N), pixels=IMAGES))
    lower, rounded = vit_step(replace(SGD, precision=precision), batch_of(range(N), pixels=IMAGES))
    assert lower == pytest.approx(loss, rel=0.02)
    assert lower != loss
    start = {name: value.detach().numpy().copy() for name, value in vit().module.named_parameters()}
    taken, expected = (
        np.concatenate([(after[name] - start[name]).ravel() for name in start]) for after in (rounded, exact)
    )
    assert np.linalg.norm(taken - expected) < 0.05 * np.linalg.norm(expected)


def test_an_overflow_in_float16_skips_the_step_and_lowers_the_scale() -> None:
    classifier = vit()
    with torch.no_grad():
        classifier.head.weight.copy_(torch.tensor([[300.0], [-300.0]]).expand(2, classifier.n_features))
    before = {name: value.detach().clone() for name, value in classifier.module.named_parameters()}
    stepper = stepper_of(replace(SGD, precision="fp16"), classifier)
    scale = stepper.scaler.get_scale()
    stepper.step(batch_of(range(N), pixels=IMAGES), 0)
    assert stepper.scaler.get_scale() == scale / 2
    for name, value in classifier.module.named_parameters():
        assert torch.equal(value, before[name])


def test_the_second_pass_of_sam_leaves_running_statistics_alone() -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3, momentum=None))
    module(torch.randn(5, 3))
    before = {name: value.clone() for name, value in module.named_buffers()}
    with frozen_statistics(module):
        first = module(torch.arange(15.0).reshape(5, 3))
    assert float(first.detach().mean().abs()) < 1e-5
    for name, value in module.named_buffers():
        assert_array_equal(value.numpy(), before[name].numpy())
    assert (module[0].momentum, module[1].momentum) == (0.1, None)


@pytest.mark.slow
def test_a_compiled_step_is_nearly_the_same() -> None:
    loss, exact = vit_step(SGD, batch_of(range(N), pixels=IMAGES))
    compiled, weights = vit_step(replace(SGD, compile=True), batch_of(range(N), pixels=IMAGES))
    assert compiled == pytest.approx(loss, rel=1e-4)
    for name, value in exact.items():
        assert_allclose(weights[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize(
    ("n", "accumulate", "size"), [(8, 1, 2), (7, 2, 3), (2, 1, 4), (1, 2, 2), (5, 4, 1), (3, 1, 2)]
)
def test_shares_cover_a_step_once(n: int, accumulate: int, size: int, least: int) -> None:
    parts = [share for rank in range(size) for share in shares_of(n, accumulate, World(rank=rank, size=size), least)]
    assert_array_equal(np.concatenate(parts), np.arange(n))
    assert all(shares_of(n, accumulate, World(rank=rank, size=size), least) for rank in range(size))
    filled = [len(part) for part in parts if len(part)]
    assert len(filled) == max(1, min(accumulate * size, n // least))
    assert min(filled) >= min(n, least)
