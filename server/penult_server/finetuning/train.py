"""The training loop: all weights of a backbone and a fresh head, measured and stored as the plan says."""

# pyright: reportUnknownMemberType=false
# torch annotates `backward` and its conversions from NumPy in part.

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier, memory_errors
from penult_server.backbones.files.keeping import head_for_dataset
from penult_server.backbones.images.preprocessing import ImagePreprocessing, TextPreprocessing
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, save_checkpoint
from penult_server.backbones.starting import Started, StartHead, load_start
from penult_server.class_names import Classes
from penult_server.datasets.model import Dataset, DatasetInfo
from penult_server.errors import ServiceError
from penult_server.finetuning.augment import TrainingInputs
from penult_server.finetuning.checks import invalid
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.determinism import reproducible
from penult_server.finetuning.effects import has_files
from penult_server.finetuning.errors_of import errors_of, repeated
from penult_server.finetuning.evaluate import split_logits, split_metrics
from penult_server.finetuning.examples import balance, split_batches, training_batches
from penult_server.finetuning.first_step import UntilFirstStep
from penult_server.finetuning.groups import TRAIN
from penult_server.finetuning.keep import check_ranked, needed
from penult_server.finetuning.manifest import write_manifest
from penult_server.finetuning.optimizer import learning_rate_factor, set_learning_rate
from penult_server.finetuning.parts import check_parts, least_part
from penult_server.finetuning.plan import make_plan
from penult_server.finetuning.state import SavingTimes, TrainingProgress, load_state, save_state
from penult_server.finetuning.step import Stepper
from penult_server.finetuning.tokens import open_tokenised
from penult_server.finetuning.world import ALONE, World
from penult_server.notes import Note
from penult_server.progress import JobContext, MetricsRecord
from penult_server.stores.checkpoints import CheckpointManifest, has_checkpoint, read_manifest
from penult_server.stores.training_states import fetch_state, publish_state, state_file

CHECKED_EXAMPLES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOutcome:
    """Checkpoints, metrics and times of a run."""

    checkpoints: list[CheckpointManifest]
    """Checkpoints that the run keeps, in the order of their step."""
    history: list[MetricsRecord]
    """Metrics, by step, then split."""
    kept_row_ids: NDArray[np.uint64]
    """Ids of the training examples of an epoch: those that the balancing kept, in the order of the split; then, again,
    those that are repeated."""
    steps_per_epoch: int
    train_seconds: float
    """Seconds of the training steps alone, evaluation and storing left out."""
    resumed_at: list[int]
    """Steps from which the run was resumed after it had been killed."""
    notes: tuple[Note, ...]
    """What the balancing left out, and how classes were matched."""


def finetune(
    config: FinetuneConfig,
    dataset: Dataset,
    *,
    root: Path,
    device: torch.device,
    context: JobContext,
    run_id: str = "",
    attempt: int = 0,
    world: World = ALONE,
    start_head: StartHead | None = None,
) -> FinetuneOutcome:
    """Finetune a backbone on the split "train" of a dataset.

    Measures and stores in float32. The same configuration, data, device and number of threads give the same weights,
    bit by bit, however often the process is killed and the call made again.

    Parameters
    ----------
    root : directory of the store; checkpoints are written below it, and with a `run_id` the run's manifest and,
        while it is going on, its training state. Who calls removes that state when the run has ended
        (`discard_training_state`).
    context : is told of progress (steps), metrics, checkpoints and steps whose training state is saved, and asked at
        every step whether to go on.
    run_id : written into the checkpoints' manifests. Without one no training state is saved.
    attempt : number of the attempt at the run; in a bucket states of later ones count.
    world : the processes that share every step; each makes this call. Only the first reports and stores, and only its
        answer holds what the run leaves.
    start_head : the head of the refit that the configuration names as its start.

    Raises
    ------
    ServiceError : those of `load_backbone` or `load_start`, of the dataset's examples, of `balance` and of `errors_of`;
        DIVERGED, naming epoch and step, when the loss is not finite; OUT_OF_MEMORY on a GPU; CANCELLED;
        INVALID_ARGUMENT when texts are to be mixed; that of `check_parts`.
    """
    info = dataset.info
    if config.objective.mixup and info.modality == "text":
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"mixup mixes images; the dataset {info.name!r} holds texts", field="mixup"
        )
    counts = info.group_counts(TRAIN, config.attribute)
    train_shares = counts / counts.sum()
    splits = config.evaluate or tuple(info.splits)
    check_ranked(config.keep, splits)

    until_first = UntilFirstStep(device)
    with reproducible(device), memory_errors(config.batch_size):
        training = balance(config, dataset, root)
        if config.objective.repeat_errors_of:
            errors = errors_of(
                config.objective.repeat_errors_of,
                dataset,
                root=root,
                device=device,
                check_cancelled=context.check_cancelled,
            )
            training = repeated(training, errors, config.objective.repeat_errors)
        plan = make_plan(config, len(split_batches(training.rows, config.batch_size)))
        kept_row_ids = info.split(TRAIN).row_id[training.rows]
        until_first.did("balancing")
        started = load_started(config, dataset, root, start_head) if config.start else None
        classifier = started.classifier if started else load_classifier(config, dataset)
        until_first.did("model")
        classifier = classifier.to(device)
        until_first.did("model to the device")
        least = least_part(classifier, device)
        check_parts(config, len(training.rows), least)
        until_first.did("probe of two examples")
        inputs = {split: open_tokenised(dataset, split, classifier.preprocessing, root) for split in {TRAIN, *splits}}
        training_inputs = TrainingInputs(dataset.examples(TRAIN), inputs[TRAIN], classifier.preprocessing, config)
        stepper = Stepper(
            classifier,
            config,
            group_counts=np.bincount(training.g[training.rows], minlength=training.n_groups),
            device=device,
            world=world,
            until_first=until_first,
        )
        until_first.did("inputs")
        origin = origin_of(run_id, info, config, train_shares)
        checked_on = classifier.preprocessing.to_batch(inputs[TRAIN].take(training.rows[:CHECKED_EXAMPLES]), device)
        state = state_file(root, run_id)
        if run_id:
            fetch_state(root, run_id)
        identity = run_identity(config, info)
        is_stored = partial(has_checkpoint, root)
        progress = (load_state(state, stepper.trained, identity, is_stored) if run_id else None) or TrainingProgress()
        if progress.step:
            progress.resumed_at.append(progress.step)
            # Again, in case the process died between the saving and its report.
            context.saved(progress.step)
            # An earlier job may have stored them, whose state this one has taken over.
            for _, digest in progress.checkpoints:
                context.checkpoint(read_manifest(root, digest))
        if run_id and world.is_first:
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
            world.share_statistics(classifier.module)
            for split in splits:
                report(f"{plan.stage(progress.step)}: {split}")
                logits = split_logits(
                    classifier,
                    inputs[split],
                    device=device,
                    check_cancelled=context.check_cancelled,
                    world=world,
                )
                if world.is_first:
                    metrics = split_metrics(
                        logits, dataset, split, attribute=config.attribute, train_shares=train_shares
                    )
                    epoch = plan.epoch(progress.step)
                    record = MetricsRecord(epoch=epoch, step=progress.step, split=split, metrics=metrics)
                    progress.history.append(record)
                    context.metrics(record)

        def store() -> bool:
            """Whether the run has come to need fewer of the checkpoints that it stored before."""
            manifest = save_checkpoint(
                root, classifier, origin, epoch=plan.epoch(progress.step), step=progress.step, checked_on=checked_on
            )
            context.checkpoint(manifest)
            before = [*progress.checkpoints, (progress.step, manifest.digest)]
            progress.n_stored += 1
            progress.checkpoints = needed(config.keep, before, progress.history, n_stored=progress.n_stored)
            return len(progress.checkpoints) < len(before)

        saving = SavingTimes(config.save_every)
        losses = LossWatch(plan.steps_per_epoch)
        report(f"going on after step {progress.step}" if progress.step else "starting point")
        if world.is_first and not progress.checkpoints:
            store()
        until_first.did("starting point")
        classifier.module.train()
        began_at = time.perf_counter()
        batches = training_batches(
            training, training_inputs, config, first=progress.step, last=plan.n_steps, least=least, world=world
        )
        for batch in batches:
            context.check_cancelled()
            factor = learning_rate_factor(
                progress.step,
                plan.n_steps,
                schedule=config.schedule,
                warmup=config.warmup,
                steps_per_change=plan.steps_per_epoch if config.schedule_by_epoch else 1,
            )
            set_learning_rate(stepper.optimizer, config.learning_rate * factor)
            until_first.did("first batch")
            loss = stepper.step(batch, progress.step)
            until_first.tell()
            progress.step += 1
            losses.watch(progress.step, loss)
            report(plan.stage(progress.step))

            measured = plan.is_measured(progress.step)
            stored = world.is_first and plan.is_stored(progress.step)
            kept = run_id and world.is_first
            saved = kept and saving.is_due(progress.step, ends_epoch=plan.ends_epoch(progress.step))
            if measured or stored or saved:
                losses.settle()
                progress.train_seconds += time.perf_counter() - began_at
                if measured:
                    measure()
                fewer = stored and store()
                # What is no longer needed goes only once no state on the disk says otherwise.
                if saved or (fewer and kept):
                    began = time.monotonic()
                    save_state(state, stepper.trained, progress, identity)
                    publish_state(root, run_id, attempt)
                    context.saved(progress.step)
                    saving.note(began)
                if fewer:
                    context.needed([digest for _, digest in progress.checkpoints])
                classifier.module.train()
                began_at = time.perf_counter()

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
        notes=(*classifier.notes, *training.notes, *(started.notes if started else ())),
    )


def load_started(config: FinetuneConfig, dataset: Dataset, root: Path, head: StartHead | None) -> Started:
    """The body that the run starts from, with a head for the dataset's classes. Raises ServiceError as `load_start`."""
    info = dataset.info
    started = load_start(
        root,
        config.start.checkpoint,
        Classes(names=info.classes, whose=f"dataset {info.name!r}"),
        head=head,
        new_head=config.head == "new",
        seed=config.seed,
        image_size=config.image_size,
        max_tokens=config.max_tokens,
    )
    return replace(started, classifier=_fed_as_asked(started.classifier, config))


def load_classifier(config: FinetuneConfig, dataset: Dataset) -> Classifier:
    """The backbone with a fresh head, or the one that its files hold.

    Raises ServiceError as `load_backbone`, `head_for_dataset` and `input_side` do; INVALID_ARGUMENT for a crop larger
    than the image.
    """
    classifier = load_backbone(
        config.backbone,
        len(dataset.info.classes),
        pretrained=config.pretrained,
        seed=config.seed,
        image_size=input_side(config, dataset),
        max_tokens=config.max_tokens,
        weights=config.weights,
        pooling=config.pooling,
    )
    if has_files(config):
        classifier = head_for_dataset(classifier, config.head, dataset.info.name, dataset.info.classes)
    return _fed_as_asked(classifier, config)


def _fed_as_asked(classifier: Classifier, config: FinetuneConfig) -> Classifier:
    """The classifier with the padding and the crop that the configuration asks for."""
    preprocessing = classifier.preprocessing
    if isinstance(preprocessing, TextPreprocessing) and config.pad_to_max:
        return replace(classifier, preprocessing=replace(preprocessing, pad_to=config.max_tokens))
    if isinstance(preprocessing, ImagePreprocessing) and config.image_resize:
        if config.image_resize < preprocessing.size:
            raise invalid("image_resize", f"at least the images' side, {preprocessing.size}", config.image_resize)
        return replace(classifier, preprocessing=replace(preprocessing, resize=config.image_resize))
    return classifier


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
    """sha256 (hex) over what decides a run's numbers: a training state of another is not resumed."""
    said = asdict(config)
    if not config.grouping:
        # States that were saved before groupings were known go on.
        said.pop("grouping")
    content = json.dumps([said, info.digest], sort_keys=True)
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
            f"inputs=Images(size=0) takes the size of the dataset's images, which must then be square; the first of "
            f"{dataset.info.name!r} has {width} x {height} pixels: give a size",
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
