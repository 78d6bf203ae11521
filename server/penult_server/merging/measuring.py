"""Networks measured in memory: one module takes the weights of every point in turn."""

# pyright: reportUnknownMemberType=false
# torch annotates its conversions from NumPy in part.

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from penult_proto.safetensors import WEIGHTS_FILE
from penult_server.backbones.inputs import SplitInputs, open_inputs
from penult_server.backbones.saving import built
from penult_server.class_names import Match
from penult_server.datasets.model import Dataset
from penult_server.finetuning.evaluate import split_logits
from penult_server.merging.batchnorm import reestimate
from penult_server.merging.storing import Reestimation
from penult_server.merging.streamed import MergePlan, stream
from penult_server.stores.checkpoints import FOLDER, checkpoint_files, read_manifest
from penult_server.stores.places.opening import store_of
from penult_server.stores.writing.weights import mapped_tensors

Logits = dict[str, NDArray[np.float32]]
"""(N, C) of each split, in the order of the dataset's classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """On what networks are measured."""

    dataset: Dataset
    splits: tuple[str, ...]
    classes: Match
    """The networks' classes matched to those of the dataset."""
    statistics: Reestimation | None


class Measuring:
    """Merges and measures, one network after the other; its weights are in a staged folder, and go with it."""

    def __init__(
        self, root: Path, rest: str, asked: Measured, *, device: torch.device, beat: Callable[[], None]
    ) -> None:
        """`beat` is called before each slice and each batch, and may raise."""
        self._root, self._asked, self._device, self._beat = root, asked, device, beat
        manifest, directory = read_manifest(root, rest), checkpoint_files(root, rest)
        files = {name: (directory / name).read_bytes() for name in manifest.files}
        self._classifier = built(directory, manifest, mapped_tensors(directory / WEIGHTS_FILE), files).to(device)
        preprocessing = self._classifier.preprocessing
        self._inputs = {name: open_inputs(asked.dataset, name, preprocessing) for name in asked.splits}
        self._train: SplitInputs | None = None
        if asked.statistics is not None:
            self._train = open_inputs(asked.statistics.dataset, "train", preprocessing)
        self._attempt = store_of(root).attempt(FOLDER)

    def close(self) -> None:
        """Remove what was staged."""
        self._attempt.discard()

    def logits(self, plan: MergePlan) -> Logits:
        """Of every split under one merge. Raises what `stream` and `reestimate` do."""
        target = self._attempt.directory / WEIGHTS_FILE
        stream(self._root, plan, target, beat=lambda _: self._beat())
        self._load(target)
        target.unlink()
        if self._train is not None and self._asked.statistics is not None:
            positions = self._asked.statistics.positions()
            reestimate(self._classifier, self._train, positions, device=self._device, beat=lambda _: self._beat())
        return {name: self._of_split(inputs) for name, inputs in self._inputs.items()}

    def _load(self, path: Path) -> None:
        state = {name: torch.from_numpy(one) for name, one in mapped_tensors(path).items()}
        self._classifier.module.load_state_dict(state)

    def _of_split(self, inputs: SplitInputs) -> NDArray[np.float32]:
        found = split_logits(self._classifier, inputs, device=self._device, check_cancelled=self._beat)
        return np.ascontiguousarray(self._asked.classes.columns(found))


def at(plan: MergePlan, t: float) -> MergePlan:
    """The plan of a line at one place."""
    return replace(plan, numbers={"t": t})


def swapped(plan: MergePlan, tensors: tuple[str, ...], t: float) -> MergePlan:
    """The network at the end of a line, of which some tensors are moved back to the beginning by t."""
    (last,) = plan.parents
    return replace(plan, parents=(plan.base,), base=last, rest=last, merged=tensors, numbers={"t": t})
