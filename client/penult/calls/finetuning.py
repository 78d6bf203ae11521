"""The part of the client that starts long work: finetunings, and extractions of what they made."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Unpack

from penult.calls import jobs
from penult.connection.rpc import Connection
from penult.results.records import Checkpoint, Dataset, FeatureSet, Run
from penult.types import (
    BalanceMethod,
    By,
    FeatureKind,
    FileHead,
    LossName,
    MissingGroups,
    OptimizerName,
    PoolingName,
    PrecisionName,
    ScheduleName,
    StorageType,
)
from penult.wire import encode, recipes
from penult.wire.finetune_arguments import FinetuneArguments
from penult_proto.v1 import jobs_pb2


class Finetuning:
    """Jobs that train models, and that cache their features."""

    connection: Connection

    def finetune(
        self,
        *,
        dataset: Dataset | str,
        backbone: str | Path,
        attribute: str | None = None,
        pretrained: bool | None = None,
        weights: str | Path | None = None,
        head: FileHead | None = None,
        pooling: PoolingName | None = None,
        balance: BalanceMethod | None = None,
        by: By | None = None,
        ratio: float | Literal["dataset"] | None = None,
        missing_groups: MissingGroups | None = None,
        epochs: int | None = None,
        seed: int | None = None,
        optimizer: OptimizerName | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        decay_all: bool | None = None,
        momentum: float | None = None,
        schedule: ScheduleName | None = None,
        schedule_by_epoch: bool | None = None,
        warmup: float | None = None,
        clip_norm: float | None = None,
        batch_size: int | None = None,
        accumulate: int | None = None,
        processes: int | None = None,
        precision: PrecisionName | None = None,
        compile: bool | None = None,
        loss: LossName | None = None,
        group_dro_rate: float | None = None,
        group_dro_adjustment: float | None = None,
        cvar_fraction: float | None = None,
        label_smoothing: float | None = None,
        mixup: float | None = None,
        sam: float | None = None,
        repeat_errors_of: Checkpoint | str | None = None,
        repeat_errors: int | None = None,
        flip: bool | None = None,
        crop_scale: float | None = None,
        image_size: int | None = None,
        image_resize: int | None = None,
        max_tokens: int | None = None,
        pad_to_max: bool | None = None,
        evaluate: Sequence[str] | None = None,
        evaluate_every: float | None = None,
        checkpoint_every: float | None = None,
        early_steps: Sequence[int] | None = None,
        save_every: int | None = None,
        timeout: float = 60.0,
    ) -> jobs.Job[Run]:
        """Start finetuning all weights of a backbone; ``.wait()`` gives the `Run`.

        The same request again returns the job that is queued, running or has succeeded. A run that is killed
        resumes from its last saved state, and ends with the weights it would have had, bit for bit.

        An argument that is left out, or None, takes the server's default. ``run.spec`` shows the values used, and None
        for arguments that have no effect on the run. Defaults::

            pretrained=True, head="keep", pooling="model", balance="none", by="class", missing_groups="refuse",
            epochs=2, seed=0, optimizer="adamw", learning_rate=0.001, weight_decay=0.01, decay_all=False, momentum=0.9,
            schedule="cosine", schedule_by_epoch=False, warmup=0.1, clip_norm=0.0, batch_size=32, accumulate=1,
            processes=1, precision="auto", compile=False, loss="mean", group_dro_rate=0.01, group_dro_adjustment=0.0,
            cvar_fraction=0.2, label_smoothing=0.0, mixup=0.0, sam=0.0, flip=True, crop_scale=0.0, image_size=0,
            image_resize=0, max_tokens=128, pad_to_max=False, evaluate_every=1.0, checkpoint_every=1.0, save_every=0

        An argument that would have no effect is refused, and the error says what it goes with: `momentum` without
        ``optimizer="sgd"``, `by` without a balance, `max_tokens` for images, arguments of training with ``epochs=0``.

        Parameters
        ----------
        dataset : name of a packaged or registered dataset.
        backbone : a timm model, a directory of a timm or transformers model on the server's machine, a hub name, or a
            packaged name (see `info`).
        attribute : what groups are made from; the dataset's first by default.
        pretrained : False starts from random weights.
        weights : absolute path, on the server's machine, of a file of pretrained weights of a timm backbone
            (safetensors, or a PyTorch file that holds tensors alone).
        head : of `weights`, or of a directory as `backbone`: "keep" the head that the files hold, whose classes must be
            named there as the dataset names them, and draw a fresh one only where they hold none; "new" always draws a
            fresh one, as names of pretrained models do. ``.notes`` of the run says which. A head whose classes the
            files do not name is kept by ``client.checkpoints.import_(..., classes=[...])``.
        pooling : what the head of a text model reads: "model" for what its own classifier does, such as BERT's pooled
            first token; "mean" for the mean of the last hidden states over the tokens (Reimers and Gurevych 2019).
        balance : how the training examples are balanced (LaBonte et al. 2024, section 3): "none"; "subsetting"
            keeps as many of each as the smallest has; "upsampling" draws with probability 1/count;
            "upweighting" weighs the loss by 1/count; "mixture" caps each at `ratio` times the smallest, then
            upsamples. The cap is rounded down; the authors' code rounds it up.
        by : balance over classes or groups.
        ratio : for "mixture", at least 1; "dataset" for the dataset's own imbalance, largest over smallest.
        missing_groups : what to do about groups without a training example when balancing by group: "refuse", or "skip"
            to balance the others. Groups without an example in any split are always left out. ``.notes`` of the run
            names the groups left out.
        epochs : 0 stores the starting point only.
        seed : of the fresh head, the order of examples, the augmentation and dropout.
        optimizer : "adamw" or "sgd".
        learning_rate : peak of the learning rate.
        weight_decay : of weights; of biases and normalisation layers only with `decay_all`.
        momentum : of "sgd".
        schedule : how the learning rate falls after the warm-up: by the step, or with `schedule_by_epoch` by the epoch.
        warmup : fraction of all steps in which the learning rate rises from 0.
        clip_norm : largest norm of the gradient over all weights; 0 for none.
        batch_size : examples per step, over all processes and micro-batches.
        accumulate : micro-batches per step, which pass through the model one after the other, to need less memory. The
            gradient is the same, except through batch normalisation, which normalises over each micro-batch alone and
            updates its running statistics once per micro-batch. Where that would be over a single value (1 x 1 maps),
            micro-batches of one example are joined at the end of an epoch, and refused where `batch_size` makes them.
        processes : processes on the server's machine that share each step, a GPU each where there are any.
        precision : of the forward passes in training: "fp32", or autocast to "bf16" or "fp16" (with a scaled loss);
            "auto" is bf16 on a GPU and fp32 on the CPU.
        compile : train through torch.compile.
        loss : "mean"; "group_dro" (Sagawa et al. 2020) with step size `group_dro_rate` and size adjustment
            `group_dro_adjustment` / sqrt(n_g), usually with ``balance="upsampling", by="group"``; "cvar_dro", the
            mean of the worst `cvar_fraction` of each batch (Levy et al. 2020), weighted as the balancing says.
        label_smoothing : fraction of every target that is spread over all classes.
        mixup : alpha of Beta(alpha, alpha), by which two images and their labels are mixed (Zhang et al. 2018).
        sam : radius of sharpness-aware minimisation (Foret et al. 2021).
        repeat_errors_of, repeat_errors : a checkpoint, and how often each training example that it gets wrong stands in
            an epoch, itself counted: the second stage of "just train twice" (Liu et al. 2021, algorithm 1). Their paper
            says 20 times; their code adds 20 copies to the data, so that ``repeat_errors=21`` repeats its runs.
        flip : random horizontal flips of training images.
        crop_scale : least fraction of an image's area that a random crop keeps, such as 0.7; 0 crops none.
        image_size : side in pixels; the dataset's own by default.
        image_resize : shorter side in pixels before the center crop to `image_size`, such as 256 for 224; by default
            `image_size`, so that the crop keeps the whole shorter side.
        max_tokens : tokens kept of each text; with `pad_to_max` every text is padded to as many.
        evaluate : splits whose metrics are measured; all by default.
        evaluate_every, checkpoint_every : epochs from one measurement, or checkpoint, to the next; 0.25 for four in
            an epoch. The last step is always measured and stored, the start always stored.
        early_steps : further steps after which the model is measured and stored, such as ``[1, 2, 5, 10, 20, 50]``;
            those beyond the last are left out.
        save_every : steps between savings of the training state, from which a killed run resumes; by default as often
            as costs about 2 % of the time.
        timeout : seconds for starting the job.

        Raises
        ------
        InvalidRequest : an argument is out of its range, has no effect, or excludes another.
        NotFound : kinds ``unknown_dataset``, ``unknown_backbone``, ``unknown_split``, ``unknown_checkpoint``.
        PreconditionFailed : kind ``weights_unavailable``.
        Busy : too many jobs are waiting.
        """
        arguments = {name: value for name, value in locals().items() if name not in ("self", "timeout")}
        spec = recipes.finetune_spec(arguments)
        return jobs.create(self.connection, jobs_pb2.JobSpec(finetune=spec), jobs.run_result, timeout=timeout)

    def finetunes(
        self,
        requests: Sequence[FinetuneArguments] = ({},),
        *,
        seeds: Iterable[int] | None = None,
        timeout: float = 60.0,
        **common: Unpack[FinetuneArguments],
    ) -> jobs.JobGroup[Run]:
        """Start several finetunings, a sweep, each with every seed; ``.wait()`` gives their runs in order.

            client.finetunes([{"balance": "none"}, {"balance": "mixture", "ratio": 2}], seeds=range(3),
                             dataset="footwear", backbone="tf_efficientnet_lite0").wait()

        Parameters
        ----------
        requests : each a dictionary of arguments of `finetune`; one without any by default.
        seeds : seeds that each request is run with, seeds running fastest; the requests' own by default.
        common : arguments of `finetune` for all requests; those of a request take precedence.
        timeout : seconds for starting each job.

        Raises
        ------
        PenultError : as `finetune`. All requests are checked here before the first is sent; the server may still refuse
            one, then those before it have been started, and asking again finds them.
        """
        specs = [recipes.finetune_spec(one) for one in recipes.swept(requests, seeds, common)]
        started = [
            jobs.create(self.connection, jobs_pb2.JobSpec(finetune=spec), jobs.run_result, timeout=timeout)
            for spec in specs
        ]
        return jobs.JobGroup(started)

    def extract(
        self,
        checkpoint: Checkpoint | str,
        *,
        dataset: Dataset | str | None = None,
        attribute: str | None = None,
        splits: Sequence[str] | None = None,
        kind: FeatureKind = "pooled",
        dtype: StorageType = "float32",
        batch_size: int = 64,
        class_map: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> jobs.Job[dict[str, FeatureSet]]:
        """Start caching the penultimate features of a checkpoint; ``.wait()`` gives feature sets by split.

        Parameters
        ----------
        checkpoint : a record, or the digest of one.
        dataset : by default the one it was trained on. Another must have the same classes by name; their order may
            differ, then logits and head are stored in the dataset's order.
        attribute : what groups are made from; the dataset's first by default.
        splits : all by default. Those that are stored already are not computed again.
        kind : "pooled", exactly what the head reads; or "flat", the last hidden state with every position of it
            (the features of LaBonte et al. 2024), for spectra only.
        dtype : type of the stored features; "float16" refuses values that overflow.
        batch_size : examples per forward pass.
        class_map : where the dataset's classes have other names, which of them each class of the checkpoint stands
            for, such as ``{"cat": "wolf"}``; a class that is left out keeps its name.
        timeout : seconds for starting the job.

        Raises
        ------
        InvalidRequest : an argument is out of its range.
        NotFound : kinds ``unknown_checkpoint``, ``unknown_dataset``, ``unknown_split``.
        Busy : too many jobs are waiting.
        """
        spec = encode.extract_spec(
            checkpoint,
            dataset=dataset,
            attribute=attribute,
            splits=splits,
            kind=kind,
            dtype=dtype,
            batch_size=batch_size,
            class_map=class_map,
        )
        return jobs.create(self.connection, jobs_pb2.JobSpec(extract=spec), jobs.extract_result, timeout=timeout)
