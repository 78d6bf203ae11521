"""Runs that end themselves by SIGKILL, for test_finetuning_resume.

Reads lines of JSON [root, when, backbone, save_every], runs each in a forked process of its own (importing torch
takes longer than these runs), and answers with the signal that ended it. `when` is
"progress N", "metrics N" or "checkpoint N": at the N-th such report (counted from 1); or "replace N": in the middle
of the N-th replacement of the training state, when the new file is written and the old one still in place.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from finetuning_data import Recorder, squares, texts

from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.train import FinetuneOutcome, finetune


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Fragile(Recorder):
    """Kills its process at the n-th call of one method; `progress` counts steps alone."""

    def __init__(self, method: str, n: int) -> None:
        super().__init__()
        self.left = {method: n}

    def count(self, method: str) -> None:
        if method in self.left:
            self.left[method] -= 1
            if self.left[method] == 0:
                die()

    def progress(self, stage: str, done: float, total: float, unit: str) -> None:
        super().progress(stage, done, total, unit)
        if stage.startswith("epoch") and ":" not in stage:
            self.count("progress")

    def metrics(self, record: object) -> None:
        self.count("metrics")

    def checkpoint(self, manifest: object) -> None:
        self.count("checkpoint")


def run_squares(root: Path, context: Recorder, backbone: str, save_every: int) -> FinetuneOutcome:
    """Two epochs of six steps, measured and stored twice an epoch."""
    is_text = Path(backbone).is_dir()
    config = FinetuneConfig(
        backbone=backbone,
        pretrained=False,
        epochs=2,
        batch_size=2 if is_text else 4,
        max_tokens=8,
        evaluate=("val",),
        evaluate_every=0.5,
        checkpoint_every=0.5,
        save_every=save_every,
    )
    dataset = texts() if is_text else squares()
    return finetune(config, dataset, root=root, device=torch.device("cpu"), context=context, run_id="run-1")


def die_in_replacement(n: int) -> None:
    left = [n]
    replace = Path.replace

    def fragile(self: Path, target: Path) -> Path:
        if target.name == "training_state.safetensors":
            left[0] -= 1
            if left[0] == 0:
                die()
        return replace(self, target)

    Path.replace = fragile  # pyright: ignore[reportAttributeAccessIssue]


def run_until_killed(root: str, when: str, backbone: str, save_every: int) -> None:
    method, n = when.split()
    if method == "replace":
        die_in_replacement(int(n))
    run_squares(Path(root), Fragile(method, int(n)), backbone, save_every)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run_until_killed(*json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)  # noqa: T201
