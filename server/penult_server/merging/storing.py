"""From merged weights to a checkpoint: running statistics, the check of the head, the manifest, its place."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from penult_proto.safetensors import WEIGHTS_FILE
from penult_server.backbones.classifier import Classifier, check_head
from penult_server.backbones.inputs import open_inputs
from penult_server.backbones.saving import built
from penult_server.datasets.model import Dataset
from penult_server.merging.batchnorm import Stream as RowStream
from penult_server.merging.batchnorm import batches, drawn_rows, reestimate
from penult_server.merging.streamed import MergePlan, Streamed, stream
from penult_server.merging.tensors import N_BATCHES, head_of, is_statistic
from penult_server.notes import Note
from penult_server.stores.checkpoints import (
    FOLDER,
    CheckpointManifest,
    checkpoint_files,
    commit_checkpoint,
    digest_checkpoint,
    read_manifest,
)
from penult_server.stores.places.opening import store_of
from penult_server.stores.writing.weights import mapped_tensors, overwrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Reestimation:
    """What running statistics are measured on."""

    dataset: Dataset
    attribute: str
    stream: RowStream
    batch_size: int
    count: int
    seed: int

    def positions(self) -> list[NDArray[np.int64]]:
        """Rows of the training split, batch by batch."""
        y = self.dataset.info.split("train").y
        g = self.dataset.info.group_index("train", self.attribute)
        return batches(drawn_rows(self.stream, y, g, count=self.count, seed=self.seed), self.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How far a merge is; each may raise to end it."""

    merging: Callable[[float], None]
    """The fraction of the weights that is merged."""
    measuring: Callable[[int, int], None]
    """Batches of running statistics that are done, and how many there are."""


Origin = Callable[[Streamed, int], tuple[dict[str, Any], tuple[Note, ...]]]
"""From what was merged and the examples measured on: what the manifest says of it, and notes."""


def store_merge(
    root: Path, plan: MergePlan, measured: Reestimation | None, origin: Origin, *, device: torch.device, told: Told
) -> CheckpointManifest:
    """Merge, and store the result whole or not at all; where it is a checkpoint that is stored, that one is kept.

    Raises ServiceError: those of `stream` and `reestimate`; DIVERGED for logits that are not finite; those of
    `check_head`.
    """
    attempt = store_of(root).attempt(FOLDER)
    try:
        target = attempt.directory / WEIGHTS_FILE
        streamed = stream(root, plan, target, beat=told.merging)
        rest = read_manifest(root, plan.rest)
        directory = checkpoint_files(root, plan.rest)
        files = {name: (directory / name).read_bytes() for name in rest.files}
        classifier = built(directory, rest, mapped_tensors(target), files).to(device)
        digest, n_examples = streamed.weights_digest, 0
        if measured is not None:
            n_examples = _measure(classifier, measured, device, told)
            digest = overwrite(target, _statistics(classifier))
        probe = classifier.preprocessing.to_batch(classifier.preprocessing.probe(), device)
        head_error = check_head(classifier, probe)
        merge, notes = origin(streamed, n_examples)
        for name, content in files.items():
            (attempt.directory / name).write_bytes(content)
        return commit_checkpoint(root, attempt, _manifest(rest, plan, digest, head_error, merge, notes))
    finally:
        attempt.discard()


def _measure(classifier: Classifier, measured: Reestimation, device: torch.device, told: Told) -> int:
    """Measure the running statistics; on how many examples."""
    positions = measured.positions()
    inputs = open_inputs(measured.dataset, "train", classifier.preprocessing)
    reestimate(classifier, inputs, positions, device=device, beat=lambda done: told.measuring(done, len(positions)))
    return sum(len(rows) for rows in positions)


def _statistics(classifier: Classifier) -> dict[str, NDArray[Any]]:
    state = classifier.module.state_dict()
    names = [name for name in state if is_statistic(name) or name.endswith(N_BATCHES)]
    return {name: state[name].detach().cpu().numpy() for name in names}


def _manifest(
    rest: CheckpointManifest,
    plan: MergePlan,
    weights_digest: str,
    head_error: float,
    merge: dict[str, Any],
    notes: tuple[Note, ...],
) -> CheckpointManifest:
    kind = "run" if rest.source.startswith("run") else "import"
    source = f"{kind}, merged: {plan.method}"
    return replace(
        rest,
        digest=digest_checkpoint(
            weights_digest,
            preprocessing_id=rest.preprocessing_id,
            dataset_digest=rest.dataset_digest,
            attribute=rest.attribute,
            classes=rest.classes,
            source=source,
        ),
        weights_digest=weights_digest,
        run_id="",
        epoch=0,
        step=0,
        head_error=head_error,
        source=source,
        head="merged" if head_of(rest) & set(plan.merged) else "kept",
        notes=notes,
        merge=merge,
        created=datetime.now(UTC).isoformat(),
    )
