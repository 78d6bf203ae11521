"""Whole runs beside plain loops in torch: its optimisers and schedulers, and each objective as its paper has it.

The loops get the examples in the order of the run; orders and balancings are the matter of other tests.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning_data import Recorder, squares
from numpy.testing import assert_allclose
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_server.backbones.inputs import open_inputs
from penult_server.finetuning.augment import TrainingInputs
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.examples import balance, training_batches
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.optimizer import learning_rate_factor
from penult_server.finetuning.train import finetune, load_classifier
from penult_server.stores.checkpoints import read_state

CPU = torch.device("cpu")
DATASET = squares()
SGD = FinetuneConfig(
    backbone="test_vit",
    pretrained=False,
    epochs=3,
    batch_size=7,
    optimizer="sgd",
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.0,
    evaluate=("val",),
)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of logits, classes and groups."""


def trained(config: FinetuneConfig, root: Path) -> dict[str, np.ndarray]:
    """The weights that a run leaves."""
    outcome = finetune(config, DATASET, root=root, device=CPU, context=Recorder())
    return read_state(root, outcome.checkpoints[-1])


def batches_of(config: FinetuneConfig) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Images, classes and groups of every step of the run."""
    preprocessing = load_classifier(config, DATASET).preprocessing
    stored = open_inputs(DATASET, "train", preprocessing)
    inputs = TrainingInputs(DATASET.examples("train"), stored, preprocessing, config)
    training = balance(config, DATASET)
    steps = config.epochs * -(-len(training.rows) // config.batch_size)
    found = []
    for batch in training_batches(training, inputs, config, first=0, last=steps):
        (part,) = batch.parts
        pixels = preprocessing.to_batch(part.items, CPU)
        found.append((pixels, torch.from_numpy(part.y), torch.from_numpy(part.g)))
    return found


def by_hand(
    config: FinetuneConfig,
    loss_of: Loss,
    *,
    make_optimizer: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer],
    make_scheduler: Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    steps_per_change: int = 1,
    sam: float = 0.0,
) -> dict[str, np.ndarray]:
    """The weights that a loop of a few lines leaves."""
    module = deepcopy(load_classifier(config, DATASET).module).train()
    weights = list(module.parameters())
    optimizer = make_optimizer(weights)
    scheduler = make_scheduler(optimizer) if make_scheduler else None
    for number, (pixels, y, g) in enumerate(batches_of(config), 1):
        optimizer.zero_grad()
        loss_of(module(pixels), y, g).backward()
        if sam:
            # Foret et al. 2021, algorithm 1: w + rho g / |g|, the gradient there, and the step from w.
            norm = torch.cat([one.grad.flatten() for one in weights]).norm()
            ascent = [sam * one.grad / norm for one in weights]
            with torch.no_grad():
                torch._foreach_add_(weights, ascent)
            optimizer.zero_grad()
            loss_of(module(pixels), y, g).backward()
            with torch.no_grad():
                torch._foreach_sub_(weights, ascent)
        optimizer.step()
        if scheduler is not None and number % steps_per_change == 0:
            scheduler.step()
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def assert_same_weights(
    got: dict[str, np.ndarray], expected: dict[str, np.ndarray], *, but: tuple[str, ...] = ()
) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if not name.endswith(but):
            assert_allclose(got[name], value, rtol=1e-5, atol=2e-6, err_msg=name)


def mean_loss(logits: Tensor, y: Tensor, g: Tensor) -> Tensor:
    return cross_entropy(logits, y)


def group_dro(rate: float, adjustment: float) -> Loss:
    """Sagawa et al. 2020, algorithm 1 with the generalisation adjustment of section 3.3, as `LossComputer` takes it:
    groups that are missing in a batch have loss 0, and their adjustment still moves q."""
    counts = torch.bincount(torch.from_numpy(DATASET.info.group_index("train")))
    q = torch.ones(4) / 4

    def loss_of(logits: Tensor, y: Tensor, g: Tensor) -> Tensor:
        nonlocal q
        losses = cross_entropy(logits, y, reduction="none")
        by_group = torch.stack([losses[g == k].mean() if (g == k).any() else torch.zeros(()) for k in range(4)])
        q = q * torch.exp(rate * (by_group.detach() + adjustment / counts.sqrt()))
        q = q / q.sum()
        return q @ by_group

    return loss_of


def cvar(fraction: float) -> Loss:
    """min over t of t + mean (l - t)_+ / fraction, whose minimiser is the ceil(fraction N)-th largest loss."""

    def loss_of(logits: Tensor, y: Tensor, g: Tensor) -> Tensor:
        losses = cross_entropy(logits, y, reduction="none")
        k = fraction * len(losses)
        ordered = losses.sort(descending=True).values
        threshold = ordered[int(np.ceil(k)) - 1]
        # Beside a tie rounding, which depends on the processor, would choose whose gradient counts.
        second = (ordered - threshold).detach().abs().sort().values[1]
        assert second > 1e-5
        return threshold + (losses - threshold).relu().sum() / k

    return loss_of


def sgd(config: FinetuneConfig):
    return lambda weights: torch.optim.SGD(weights, lr=config.learning_rate, momentum=config.momentum)


OBJECTIVES = {
    "group DRO": (Objective(loss="group_dro", group_dro_rate=0.5, group_dro_adjustment=1.5), group_dro(0.5, 1.5), 0.0),
    "CVaR": (Objective(loss="cvar_dro", cvar_fraction=0.25), cvar(0.25), 0.0),
    "SAM": (Objective(sam=0.1), mean_loss, 0.1),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_s_run_is_its_paper_s_loop(tmp_path: Path, name: str) -> None:
    objective, loss_of, sam = OBJECTIVES[name]
    config = replace(SGD, objective=objective)
    got = trained(config, tmp_path / "run")
    assert_same_weights(got, by_hand(config, loss_of, make_optimizer=sgd(config), sam=sam))
    # The objective matters: the mean's loop ends elsewhere.
    plain = by_hand(SGD, mean_loss, make_optimizer=sgd(SGD))
    assert max(np.abs(got[key] - plain[key]).max() for key in plain) > 1e-3


def falling(optimizer: torch.optim.Optimizer, schedule: str, n: int) -> LRScheduler:
    """torch's scheduler that ends at zero after n of its steps."""
    if schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=n)
    if schedule == "linear":
        return LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=n)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("by_epoch", [False, True])
def test_a_run_falls_with_torch_s_schedulers(tmp_path: Path, schedule: str, by_epoch: bool) -> None:
    """AdamW with decay on all weights, class-balanced draws; three epochs of four steps."""
    config = replace(
        SGD,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.1,
        decay_all=True,
        schedule=schedule,
        schedule_by_epoch=by_epoch,
        method=BalanceMethod.UPSAMPLING,
        by=BalanceBy.CLASS,
    )
    expected = by_hand(
        config,
        mean_loss,
        make_optimizer=lambda weights: torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.1),
        make_scheduler=lambda optimizer: falling(optimizer, schedule, 3 if by_epoch else 12),
        steps_per_change=4 if by_epoch else 1,
    )
    # The softmax of attention cancels the bias of keys: its gradient is rounding, which Adam scales up to a step.
    assert_same_weights(trained(config, tmp_path), expected, but=("qkv.bias",))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("n_warmup", [0, 1, 15])
def test_the_rate_of_every_step_is_that_of_torch_s_schedulers(schedule: str, n_warmup: int) -> None:
    """By the step, after a warm-up in equal increments whose last step has the peak."""
    n = 60
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = falling(optimizer, schedule, n - n_warmup)
    if n_warmup:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        rising = LinearLR(optimizer, start_factor=1 / n_warmup, total_iters=max(n_warmup - 1, 1))
        after = falling(optimizer, schedule, n - n_warmup)
        scheduler = SequentialLR(optimizer, [rising, after], milestones=[n_warmup])
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    found = [learning_rate_factor(step, n, schedule=schedule, warmup=n_warmup / n) for step in range(n)]
    assert_allclose(found, rates, atol=1e-12)
    assert max(found) == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_rate_of_every_epoch_is_that_of_torch_s_schedulers(schedule: str) -> None:
    epochs, per_epoch = 7, 5
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = falling(optimizer, schedule, epochs)
    rates = []
    for _ in range(epochs):
        rates += [optimizer.param_groups[0]["lr"]] * per_epoch
        optimizer.step()
        scheduler.step()
    found = [
        learning_rate_factor(
            step, epochs * per_epoch, schedule=schedule, warmup=0.0, steps_per_change=per_epoch
        )
        for step in range(epochs * per_epoch)
    ]  # fmt: skip
    assert_allclose(found, rates, atol=1e-12)
