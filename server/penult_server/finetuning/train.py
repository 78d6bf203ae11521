"""The training loop: all weights of a backbone and a fresh head, measured and stored after every epoch."""

# pyright: reportUnknownMemberType=false
# torch annotates `backward` and its conversions from NumPy in part.

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from penult_kernels.metrics import GroupMetrics
from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier, memory_errors, prove_head
from penult_server.backbones.inputs import open_inputs
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, save_checkpoint
from penult_server.datasets.model import Dataset
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.determinism import reproducible
from penult_server.finetuning.evaluate import evaluate_split
from penult_server.finetuning.examples import TRAIN, TrainingBatch, balance, epoch_batches, split_batches
from penult_server.finetuning.optimizer import build_optimizer, learning_rate_factor, set_learning_rate
from penult_server.jobs.context import JobContext
from penult_server.stores.checkpoints import CheckpointManifest

PROOF_EXAMPLES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetricsRecord:
    """Metrics of one split after one epoch."""

    epoch: int
    split: str
    metrics: GroupMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOutcome:
    """What a run leaves."""

    checkpoints: list[CheckpointManifest]
    """In order of their epoch, from 0."""
    history: list[EpochMetricsRecord]
    """By epoch, then split."""
    kept_row_ids: NDArray[np.uint64]
    """Ids of the training examples that the balancing kept, in the order of the split."""
    train_seconds: float
    """Of training steps alone, evaluation and storing left out."""


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
    configuration, data, device and number of threads give the same weights, bit by bit.

    Parameters
    ----------
    root : directory of the store; checkpoints are written below it.
    context : is told of progress (steps), metrics and checkpoints, and asked at every step whether to go on.
    run_id : written into the checkpoints' manifests.

    Raises
    ------
    ServiceError : those of `load_backbone`, of the dataset's examples and of `balance`; DIVERGED, naming epoch and
        step, when the loss is not finite; OUT_OF_MEMORY on a GPU; CANCELLED.
    """
    info = dataset.info
    training = balance(config, dataset)
    counts = info.group_counts(TRAIN, config.attribute)
    train_shares = counts / counts.sum()
    splits = config.evaluate or tuple(info.splits)
    n_steps = len(split_batches(training.rows, config.batch_size))
    order_rng, flip_rng = np.random.default_rng([config.seed, 1]), np.random.default_rng([config.seed, 2])

    with reproducible(config.seed, device), memory_errors(config.batch_size):
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
        origin = Origin(
            run_id=run_id,
            dataset=info.name,
            dataset_digest=info.digest,
            attribute=info.attributes[info.attribute_column(config.attribute)].name,
            classes=info.classes,
            train_shares=[float(share) for share in train_shares],
        )
        proof = classifier.preprocessing.to_batch(inputs[TRAIN].take(training.rows[:PROOF_EXAMPLES]), device)

        def store(epoch: int) -> CheckpointManifest:
            error = prove_head(classifier, proof)
            manifest = save_checkpoint(root, classifier, origin, epoch=epoch, head_error=error)
            context.checkpoint(manifest)
            return manifest

        context.progress("starting point", 0, config.epochs * n_steps, "steps")
        checkpoints = [store(0)]
        history: list[EpochMetricsRecord] = []
        train_seconds = 0.0
        for epoch in range(1, config.epochs + 1):
            stage = f"epoch {epoch} of {config.epochs}"
            started = time.perf_counter()
            classifier.module.train()
            for step, batch in enumerate(epoch_batches(training, inputs[TRAIN], config, order_rng, flip_rng)):
                context.check_cancelled()
                done = (epoch - 1) * n_steps + step
                factor = learning_rate_factor(
                    done, config.epochs * n_steps, schedule=config.schedule, warmup=config.warmup
                )
                set_learning_rate(optimizer, config.learning_rate * factor)
                loss = train_step(classifier, optimizer, batch, device)
                if not math.isfinite(loss):
                    raise diverged(loss, epoch, step + 1)
                context.progress(stage, done + 1, config.epochs * n_steps, "steps")
            train_seconds += time.perf_counter() - started

            for split in splits:
                context.progress(f"{stage}: {split}", epoch * n_steps, config.epochs * n_steps, "steps")
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
                history.append(EpochMetricsRecord(epoch=epoch, split=split, metrics=metrics))
                context.metrics(epoch, split, metrics)
            checkpoints.append(store(epoch))

    return FinetuneOutcome(
        checkpoints=checkpoints,
        history=history,
        kept_row_ids=info.split(TRAIN).row_id[training.rows],
        train_seconds=train_seconds,
    )


def train_step(
    classifier: Classifier, optimizer: torch.optim.Optimizer, batch: TrainingBatch, device: torch.device
) -> float:
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
    return float(loss.detach())


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
