"""The training loop: all weights of a backbone and a fresh head, measured and stored as the plan says."""

# pyright: reportUnknownMemberType=false
# torch annotates `backward` and its conversions from NumPy in part.

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier, memory_errors, prove_head
from penult_server.backbones.inputs import open_inputs
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, save_checkpoint
from penult_server.datasets.model import Dataset, DatasetInfo
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.determinism import reproducible
from penult_server.finetuning.evaluate import evaluate_split
from penult_server.finetuning.examples import TRAIN, TrainingBatch, balance, split_batches, training_batches
from penult_server.finetuning.history import MetricsRecord
from penult_server.finetuning.manifest import write_manifest
from penult_server.finetuning.optimizer import build_optimizer, learning_rate_factor, set_learning_rate
from penult_server.finetuning.plan import make_plan
from penult_server.finetuning.randomness import seed_model
from penult_server.finetuning.state import Progress, SavingTimes, Trained, load_state, save_state
from penult_server.jobs.context import JobContext
from penult_server.stores.checkpoints import CheckpointManifest, read_manifest
from penult_server.stores.runs import state_file

PROOF_EXAMPLES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOutcome:
    """What a run leaves."""

    checkpoints: list[CheckpointManifest]
    """In order of their step, from 0."""
    history: list[MetricsRecord]
    """By step, then split."""
    kept_row_ids: NDArray[np.uint64]
    """Ids of the training examples that the balancing kept, in the order of the split."""
    steps_per_epoch: int
    train_seconds: float
    """Of training steps alone, evaluation and storing left out."""
    resumed_at: list[int]
    """Steps at which the run was taken up again after it had been killed."""


def finetune(
    config: FinetuneConfig,
    dataset: Dataset,
    *,
    root: Path,
    device: torch.device,
    context: JobContext,
    run_id: str = "",
) -> FinetuneOutcome:
    """Finetune a backbone on the split "train" of a dataset.

    Trains in bfloat16 autocast on a GPU and in float32 on the CPU; measures and stores in float32. The same
    configuration, data, device and number of threads give the same weights, bit by bit, however often the process is
    killed and the call made again.

    Parameters
    ----------
    root : directory of the store; checkpoints are written below it, and with a `run_id` the run's manifest and,
        while it is going on, its training state. Who calls removes that state when the run has ended
        (`discard_training_state`).
    context : is told of progress (steps), metrics and checkpoints, and asked at every step whether to go on.
    run_id : written into the checkpoints' manifests. Without one nothing is kept to go on from.

    Raises
    ------
    ServiceError : those of `load_backbone`, of the dataset's examples and of `balance`; DIVERGED, naming epoch and
        step, when the loss is not finite; OUT_OF_MEMORY on a GPU; CANCELLED.
    """
    info = dataset.info
    training = balance(config, dataset)
    plan = make_plan(config, len(split_batches(training.rows, config.batch_size)))
    counts = info.group_counts(TRAIN, config.attribute)
    train_shares = counts / counts.sum()
    splits = config.evaluate or tuple(info.splits)
    kept_row_ids = info.split(TRAIN).row_id[training.rows]

    with reproducible(device), memory_errors(config.batch_size):
        classifier = load_backbone(
            config.backbone,
            len(info.classes),
            pretrained=config.pretrained,
            seed=config.seed,
            image_size=input_side(config, dataset),
            max_tokens=config.max_tokens,
        ).to(device)
        inputs = {split: open_inputs(dataset, split, classifier.preprocessing) for split in {TRAIN, *splits}}
        optimizer = build_optimizer(classifier.module, config)
        trained = Trained(
            module=classifier.module,
            optimizer=optimizer,
            objective={},
            scaler=torch.amp.GradScaler(device.type, enabled=False),
        )
        origin = origin_of(run_id, info, config, train_shares)
        proof = classifier.preprocessing.to_batch(inputs[TRAIN].take(training.rows[:PROOF_EXAMPLES]), device)
        state = state_file(root, run_id)
        identity = run_identity(config, info)
        progress = (load_state(state, trained, identity) if run_id else None) or Progress()
        if progress.step:
            progress.resumed_at.append(progress.step)
        if run_id:
            write_manifest(
                root,
                run_id,
                config,
                info,
                kept_row_ids=kept_row_ids,
                device=device,
                resumed_at=progress.resumed_at,
            )

        def report(stage: str) -> None:
            context.progress(stage, progress.step, plan.n_steps, "steps")

        def measure() -> None:
            for split in splits:
                report(f"{plan.stage(progress.step)}: {split}")
                metrics = evaluate_split(
                    classifier,
                    inputs[split],
                    dataset,
                    split,
                    attribute=config.attribute,
                    train_shares=train_shares,
                    device=device,
                    check_cancelled=context.check_cancelled,
                )
                epoch = plan.epoch(progress.step)
                record = MetricsRecord(epoch=epoch, step=progress.step, split=split, metrics=metrics)
                progress.history.append(record)
                context.metrics(record)

        def store() -> None:
            error = prove_head(classifier, proof)
            manifest = save_checkpoint(
                root, classifier, origin, epoch=plan.epoch(progress.step), step=progress.step, head_error=error
            )
            context.checkpoint(manifest)
            progress.checkpoints.append((progress.step, manifest.digest))

        saving = SavingTimes(config.save_every)
        losses = LossWatch(plan.steps_per_epoch)
        report(f"going on after step {progress.step}" if progress.step else "starting point")
        if not progress.checkpoints:
            store()
        classifier.module.train()
        started = time.perf_counter()
        for batch in training_batches(training, inputs[TRAIN], config, first=progress.step, last=plan.n_steps):
            context.check_cancelled()
            factor = learning_rate_factor(progress.step, plan.n_steps, schedule=config.schedule, warmup=config.warmup)
            set_learning_rate(optimizer, config.learning_rate * factor)
            seed_model(device, config.seed, progress.step)
            loss = train_step(classifier, optimizer, batch, device)
            progress.step += 1
            losses.watch(progress.step, loss)
            report(plan.stage(progress.step))

            measured, stored = plan.is_measured(progress.step), plan.is_stored(progress.step)
            saved = run_id and saving.is_due(progress.step, ends_epoch=plan.ends_epoch(progress.step))
            if measured or stored or saved:
                losses.settle()
                progress.train_seconds += time.perf_counter() - started
                if measured:
                    measure()
                if stored:
                    store()
                if saved:
                    began = time.monotonic()
                    save_state(state, trained, progress, identity)
                    saving.note(began)
                classifier.module.train()
                started = time.perf_counter()

    return FinetuneOutcome(
        # As this run made them, also where another run had left the same weights before.
        checkpoints=[
            replace(read_manifest(root, digest), run_id=run_id, epoch=plan.epoch(step), step=step)
            for step, digest in progress.checkpoints
        ],
        history=progress.history,
        kept_row_ids=kept_row_ids,
        steps_per_epoch=plan.steps_per_epoch,
        train_seconds=progress.train_seconds,
        resumed_at=progress.resumed_at,
    )


def train_step(
    classifier: Classifier, optimizer: torch.optim.Optimizer, batch: TrainingBatch, device: torch.device
) -> Tensor:
    """One step down the weighted mean cross-entropy: sum_i w_i CE_i / sum_i w_i over the batch. The loss."""
    inputs = classifier.preprocessing.to_batch(batch.items, device)
    y = torch.from_numpy(batch.y).to(device)
    weights = torch.from_numpy(batch.weights).to(device)
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        logits = classifier.logits(inputs)
    losses = functional.cross_entropy(logits.float(), y, reduction="none")
    loss = (weights * losses).sum() / weights.sum()
    loss.backward()
    optimizer.step()
    return loss.detach()


class LossWatch:
    """Looks at every loss one step late, so that the next step is queued before the device is waited for."""

    def __init__(self, steps_per_epoch: int) -> None:
        self._steps_per_epoch = steps_per_epoch
        self._pending: tuple[int, Tensor] | None = None

    def watch(self, step: int, loss: Tensor) -> None:
        """Take the loss of a step (counted from 1) and look at the one before. Raises ServiceError (DIVERGED)."""
        self.settle()
        self._pending = (step, loss)

    def settle(self) -> None:
        """Look at the last loss. Raises ServiceError (DIVERGED), naming epoch and step."""
        if self._pending is None:
            return
        step, loss = self._pending[0], float(self._pending[1])
        self._pending = None
        if not math.isfinite(loss):
            raise diverged(loss, (step - 1) // self._steps_per_epoch + 1, (step - 1) % self._steps_per_epoch + 1)


def origin_of(run_id: str, info: DatasetInfo, config: FinetuneConfig, train_shares: NDArray[np.float64]) -> Origin:
    """Where the checkpoints of a run come from."""
    return Origin(
        run_id=run_id,
        dataset=info.name,
        dataset_digest=info.digest,
        attribute=info.attributes[info.attribute_column(config.attribute)].name,
        classes=info.classes,
        train_shares=[float(share) for share in train_shares],
    )


def run_identity(config: FinetuneConfig, info: DatasetInfo) -> str:
    """sha256 (hex) over what decides a run's numbers: a training state of another is not gone on from."""
    content = json.dumps([asdict(config), info.digest], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def input_side(config: FinetuneConfig, dataset: Dataset) -> int:
    """Side of the model's square input in pixels; 0 for texts.

    Raises ServiceError (INVALID_ARGUMENT) when the size is left to a dataset whose images are not square.
    """
    if dataset.info.modality == "text" or config.image_size:
        return config.image_size
    height, width = np.shape(dataset.examples(TRAIN)[0])[:2]
    if height != width:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"image_size 0 takes the size of the dataset's images, which must then be square; the first of "
            f"{dataset.info.name!r} has {width} x {height} pixels: give image_size",
            width=width,
            height=height,
        )
    return int(height)


def diverged(loss: float, epoch: int, step: int) -> ServiceError:
    """The error for a loss that is not finite."""
    return ServiceError(
        ErrorKind.DIVERGED,
        f"the loss became {loss} in epoch {epoch}, step {step}; lower the learning rate or lengthen the warm-up",
        epoch=epoch,
        step=step,
        loss=loss,
    )
