"""What a method measures of every network before it merges: on which examples, and kept in files that go with it."""

# pyright: reportUnknownVariableType=false
# safetensors is annotated in part.

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from penult_server.backbones.inputs import open_inputs
from penult_server.backbones.saving import load_checkpoint
from penult_server.datasets.model import Dataset
from penult_server.merging.batchnorm import Stream, drawn_rows
from penult_server.merging.fisher import fisher_diagonal
from penult_server.merging.grams import input_grams
from penult_server.merging.streamed import MergePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredOn:
    """The training examples that networks are measured on."""

    dataset: Dataset
    attribute: str
    stream: Stream
    count: int
    seed: int

    def rows(self) -> NDArray[np.int64]:
        """Rows of the training split."""
        y = self.dataset.info.split("train").y
        g = self.dataset.info.group_index("train", self.attribute) if self.stream == "group" else y
        return drawn_rows(self.stream, y, g, count=self.count, seed=self.seed)


def with_measured(
    root: Path,
    plan: MergePlan,
    on: MeasuredOn,
    directory: Path,
    *,
    device: torch.device,
    beat: Callable[[float], None],
) -> MergePlan:
    """The plan with what its method measures of every parent, in files of `directory`.

    `beat` is called with the fraction done before each batch, and may raise. Raises ServiceError: those of
    `load_checkpoint`; OUT_OF_MEMORY.
    """
    measure = input_grams if plan.method == "regmean" else fisher_diagonal
    rows, paths = on.rows(), list[Path]()
    inputs = None
    for index, digest in enumerate(plan.parents):
        classifier = load_checkpoint(root, digest, device)
        inputs = inputs or open_inputs(on.dataset, "train", classifier.preprocessing)

        def told(done: int, index: int = index) -> None:
            beat((index + done / len(rows)) / len(plan.parents))

        found = measure(classifier, inputs, rows, plan.merged, device=device, beat=told)
        if plan.method != "regmean":
            order = plan.rows.get(digest, {})
            found = {name: one[order[name]] if name in order else one for name, one in found.items()}
        paths.append(directory / f"measured-{index}.safetensors")
        save_file({name: np.ascontiguousarray(one) for name, one in found.items()}, paths[-1])
    files = tuple(paths)
    return replace(plan, grams=files) if plan.method == "regmean" else replace(plan, importance=files)
