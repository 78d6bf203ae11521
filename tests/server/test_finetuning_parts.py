"""Batch normalisation on 1 x 1 maps: parts of one example are joined, or refused before the first step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finetuning_data import MemoryDataset, Recorder, squares

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_proto.errors import ErrorKind
from penult_server.backbones.model import load_backbone
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.parts import check_parts, least_part
from penult_server.finetuning.train import FinetuneOutcome, finetune

CPU = torch.device("cpu")
CONFIG = FinetuneConfig(
    backbone="test_resnet", pretrained=False, epochs=1, batch_size=8, evaluate=("val",), learning_rate=1e-3
)
# 37 examples: four steps of 8 and one of 5, which four parts would cut into 2, 1, 1 and 1.
ODD = {"train": [14, 5, 5, 13], "val": [1, 0, 0, 0]}


def run(root: Path, config: FinetuneConfig, dataset: MemoryDataset, context: Recorder | None = None) -> FinetuneOutcome:
    return finetune(config, dataset, root=root, device=CPU, context=context or Recorder(), run_id="run-1")


@pytest.mark.parametrize(
    ("backbone", "side", "least"), [("test_resnet", 32, 2), ("test_resnet", 160, 1), ("test_vit", 32, 1)]
)
def test_which_models_need_two(backbone: str, side: int, least: int) -> None:
    classifier = load_backbone(backbone, 2, pretrained=False, seed=0, image_size=side)
    assert least_part(classifier, CPU) == least
    classifier.module.train()
    pixels = torch.zeros(1, 3, side, side)
    if least == 1:
        classifier.module(pixels)
    else:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            classifier.module(pixels)


@pytest.mark.parametrize(
    "change",
    [
        {"accumulate": 4},
        {"accumulate": 3, "batch_size": 9},
        {"accumulate": 4, "objective": Objective(mixup=0.3, sam=0.05)},
        # Two classes of 18 each, or four groups of 5: one example remains.
        {"method": BalanceMethod.SUBSETTING, "by": BalanceBy.CLASS, "batch_size": 7, "accumulate": 3},
        {"method": BalanceMethod.SUBSETTING, "by": BalanceBy.GROUP, "batch_size": 19},
        {"method": BalanceMethod.UPSAMPLING, "by": BalanceBy.GROUP, "batch_size": 36, "accumulate": 5},
        {"objective": Objective(loss="cvar_dro"), "batch_size": 4},
    ],
)
def test_a_single_example_that_remains_is_joined(tmp_path: Path, change: dict[str, object]) -> None:
    outcome = run(tmp_path, replace(CONFIG, **change), squares(ODD))
    assert outcome.checkpoints[-1].step == outcome.steps_per_epoch > 0


def test_a_run_that_is_taken_up_again_joins_them_too(tmp_path: Path) -> None:
    config = replace(CONFIG, accumulate=4, save_every=1)
    expected = run(tmp_path / "whole", config, squares(ODD))
    with pytest.raises(ServiceError, match="cancelled"):
        run(tmp_path, config, squares(ODD), Recorder(cancel_at=4))
    outcome = run(tmp_path, config, squares(ODD))
    assert outcome.resumed_at == [3]
    assert outcome.checkpoints[-1].digest == expected.checkpoints[-1].digest


def test_repeated_errors_that_leave_one_are_joined(tmp_path: Path) -> None:
    start = run(tmp_path, CONFIG, squares(ODD)).checkpoints[0].digest
    first = replace(CONFIG, objective=Objective(repeat_errors_of=start, repeat_errors=2))
    n = len(run(tmp_path, first, squares(ODD)).kept_row_ids)
    outcome = run(tmp_path, replace(first, batch_size=n - 1), squares(ODD))
    assert outcome.steps_per_epoch == 1


@pytest.mark.parametrize(
    ("change", "counts", "said"),
    [
        ({"batch_size": 1}, ODD["train"], "batch_size must be at least 2: 'test_resnet' normalises"),
        (
            {"accumulate": 5},
            ODD["train"],
            r"at least 10 with compute=Compute\(processes=1, accumulate=5\)",
        ),
        ({}, [1, 0, 0, 0], "an epoch has 1 example, and 'test_resnet' normalises"),
    ],
)
def test_what_was_asked_to_be_single_is_refused_before_the_first_step(
    tmp_path: Path, change: dict[str, object], counts: list[int], said: str
) -> None:
    context, dataset = Recorder(), squares({"train": counts, "val": [1, 0, 0, 0]})
    with pytest.raises(ServiceError, match=said) as caught:
        run(tmp_path, replace(CONFIG, **change), dataset, context)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert (context.steps, context.stored) == ([], [])
    # Without batch normalisation single examples are what was asked for.
    run(tmp_path, replace(CONFIG, backbone="test_vit", **change), dataset)


def test_processes_count_as_parts() -> None:
    config = replace(CONFIG, processes=3, accumulate=2)
    with pytest.raises(ServiceError, match=r"at least 12 with compute=Compute\(processes=3, accumulate=2\)"):
        check_parts(config, 37, 2)
    check_parts(replace(config, batch_size=12), 37, 2)
    check_parts(config, 37, 1)
