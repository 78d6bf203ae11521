"""The part of the client that starts long work: finetunings, and extractions of what they made."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Unpack

from penult.calls import jobs
from penult.calls.job import Job, extract_result, run_result
from penult.calls.job_group import JobGroup
from penult.calls.methods.recipes import Recipes, recipes, with_recipes
from penult.connection.rpc import Connection
from penult.options import (
    SGD,
    AdamW,
    Augment,
    Compute,
    CrossEntropy,
    CVaRDRO,
    GroupDRO,
    Images,
    Record,
    RepeatErrors,
    Schedule,
    Texts,
)
from penult.results.records import Checkpoint, Dataset, FeatureSet, Run
from penult.results.refits import Refit
from penult.types import BalanceMethod, FeatureKind, FileHead, MissingGroups, RecipeName, StorageType
from penult.wire import encode
from penult.wire.finetune_arguments import FinetuneArguments
from penult.wire.recipes import check_names, finetuning, swept
from penult.wire.references import ByLike
from penult_proto.v1 import jobs_pb2


class Finetuning:
    """Jobs that train models, and that cache their features."""

    connection: Connection

    @with_recipes
    def finetune(
        self,
        *,
        dataset: Dataset | str | None = None,
        backbone: str | Path | None = None,
        start: Checkpoint | Refit | str | None = None,
        recipe: RecipeName | None = None,
        attribute: str | None = None,
        pretrained: bool | None = None,
        weights: str | Path | None = None,
        head: FileHead | None = None,
        balance: BalanceMethod | None = None,
        by: ByLike | None = None,
        ratio: float | Literal["dataset"] | None = None,
        group_ratio: float | None = None,
        missing_groups: MissingGroups | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        evaluate: Sequence[str] | None = None,
        optimizer: AdamW | SGD | None = None,
        schedule: Schedule | None = None,
        loss: CrossEntropy | GroupDRO | CVaRDRO | None = None,
        augment: Augment | None = None,
        repeat: RepeatErrors | None = None,
        inputs: Images | Texts | None = None,
        compute: Compute | None = None,
        record: Record | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 60.0,
    ) -> Job[Run]:
        """Start finetuning all weights of a backbone; ``.wait()`` gives the `Run`.

            run = client.finetune(dataset="footwear", backbone="tf_efficientnet_lite0", epochs=1).wait()
            client.finetune(dataset="footwear", backbone="tf_efficientnet_lite0", epochs=1, balance="mixture", ratio=2,
                            optimizer=penult.AdamW(learning_rate=1e-4), augment=penult.Augment(crop_scale=0.7))
            client.finetune(**run.spec.arguments() | {"seed": 1})  # the same with another seed

        The same request again returns the job that is queued, running or has succeeded. A run that is killed
        resumes from its last saved state, and ends with the weights it would have had, bit for bit.

        An argument or an option that is left out, or None, takes the server's default. ``run.spec`` shows the values
        used, and None for what has no effect on the run. Those of options stand with their classes, as in
        ``help(penult.AdamW)``; the others are::

            pretrained=True, head="keep", balance="none", by="class", missing_groups="refuse", epochs=2, batch_size=32,
            seed=0, optimizer=AdamW(), loss=CrossEntropy()

        What would have no effect is refused, and the error says what it goes with: `by` without a balance,
        ``inputs=Texts(max_tokens=...)`` for images, what belongs to training with ``epochs=0``.

        Parameters
        ----------
        dataset : name of a packaged or registered dataset; by default the recipe's.
        backbone : a timm model, a directory of a timm or transformers model on the server's machine, a hub name, or a
            packaged name (see `info`); by default the recipe's.
        start : instead of a backbone, a checkpoint, or a refit of extracted features, or a name or digest: the run
            begins with that body and that head, its rows in the order of the dataset's classes by name. The seed then
            decides order, augmentation and dropout alone. `backbone`, `pretrained`, `weights` and the pooling are the
            start's, and so are the sizes of `inputs` unless others are given.
        recipe : a published set-up, which fills in the arguments and options that are left out; those that are given
            take precedence, and what of it then has no effect is left out. ``client.recipes()`` lists what each sets.
            [recipes]
        attribute : what groups are made from; the dataset's first by default.
        pretrained : False starts from random weights.
        weights : absolute path, on the server's machine, of a file of pretrained weights of a timm backbone
            (safetensors, or a PyTorch file that holds tensors alone).
        head : of `weights`, a directory as `backbone`, or the `start`: "keep" the one that they bring, whose classes
            must be named as the dataset's are (files without a head get a fresh one), or "new" to draw a fresh one, as
            needed for other classes; ``.notes`` of the run says which, and ``client.checkpoints.import_`` keeps a head
            whose classes its files do not name.
        balance : how the training examples are balanced (LaBonte et al. 2024, section 3): "none"; "subsetting"
            keeps as many of each as the smallest has; "upsampling" draws with probability 1/count;
            "upweighting" weighs the loss by 1/count; "mixture" caps each at `ratio` times the smallest, then
            upsamples. The cap is rounded down; the authors' code rounds it up.
        by : balance over "class" or "group"; or over the groups of a grouping of the dataset's split "train", which
            ``loss=GroupDRO()`` then uses, too. Examples in none of them are not trained on; metrics, and what
            ``record=Record(keep="best")`` compares, are of the stored groups.
        ratio : for "mixture", at least 1; "dataset" for the dataset's own imbalance, largest over smallest.
        group_ratio : with balance= "subsetting", "upsampling" or "upweighting" by group, above 0 and at most 1: in a
            class that has a minority (its smallest group is at most half of every other) the minority is this many
            times as frequent as each other group; classes are equal. 1 balances the groups. A subset has, of each
            class, as many rows as the smallest group times the class's groups (Hill et al. 2026).
        missing_groups : what to do about groups without a training example when balancing by group: "refuse", or "skip"
            to balance the others. Groups without an example in any split are always left out. ``.notes`` of the run
            names the groups left out.
        epochs : 0 stores the starting point only.
        batch_size : examples per step, over all processes and micro-batches.
        seed : of the fresh head, the order of examples, the augmentation and dropout.
        evaluate : splits whose metrics are measured; all by default.
        optimizer : `penult.AdamW` or `penult.SGD`, with learning rate, weight decay, clipping and the radius of
            sharpness-aware minimisation.
        schedule : `penult.Schedule`, of the learning rate: its name and the warm-up.
        loss : `penult.CrossEntropy`, `penult.GroupDRO` (Sagawa et al. 2020) or `penult.CVaRDRO` (Levy et al. 2020),
            each with label smoothing.
        augment : `penult.Augment`: flips, crops and mixup of training images.
        repeat : `penult.RepeatErrors`, of a checkpoint: the second stage of "just train twice" (Liu et al. 2021).
        inputs : `penult.Images`, their size, or `penult.Texts`, their length and the pooling.
        compute : `penult.Compute`: precision, torch.compile, micro-batches, processes.
        record : `penult.Record`: when the run is measured and stored.
        name, tags, note : of the run, to find it by and for people; no part of the request, so that asking again with
            another name names the same run. A name that another run has moves here when this one has ended, and
            ``.notes`` of the job says so. Change them with ``client.runs.describe``.
        timeout : seconds for starting the job.

        Raises
        ------
        InvalidRequest : an argument is out of its range, has no effect, or excludes another; kind ``other_classes`` for
            a start whose head knows other classes than the dataset.
        NotFound : kinds ``unknown_dataset``, ``unknown_backbone``, ``unknown_split``, ``unknown_checkpoint``.
        StoreCorrupt : the start is damaged.
        PreconditionFailed : kind ``weights_unavailable``.
        Busy : too many jobs are waiting.
        """
        arguments = {name: value for name, value in locals().items() if name not in ("self", "timeout")}
        spec, card = finetuning(arguments)
        job_spec = jobs_pb2.JobSpec(finetune=spec)
        return jobs.create(self.connection, job_spec, run_result, card=card, timeout=timeout)

    def finetunes(
        self,
        requests: Sequence[FinetuneArguments] = ({},),
        *,
        seeds: Iterable[int] | None = None,
        timeout: float = 60.0,
        **common: Unpack[FinetuneArguments],
    ) -> JobGroup[Run]:
        """Start several finetunings, a sweep, each with every seed; ``.wait()`` gives their runs in order.

            client.finetunes([{"balance": "none"}, {"balance": "mixture", "ratio": 2}], seeds=range(3),
                             dataset="footwear", backbone="tf_efficientnet_lite0").wait()

        Parameters
        ----------
        requests : each a dictionary of arguments of `finetune`; one without any by default.
        seeds : seeds that each request is run with, seeds running fastest; the requests' own by default.
        common : arguments of `finetune` for all requests; those of a request take precedence. A name belongs to one
            run: what all runs of a sweep share is a tag.
        timeout : seconds for checking, and for starting, each job.

        Raises
        ------
        PenultError : as `finetune`. The server has checked all requests before the first is started; what it finds out
            in between, such as that too many jobs wait, leaves those before it started, and asking again finds them.
        """
        asked = [finetuning(one) for one in swept(requests, seeds, common)]
        check_names(card for _, card in asked)
        specs = [(jobs_pb2.JobSpec(finetune=spec), card) for spec, card in asked]
        for spec, card in specs:
            jobs.check(self.connection, spec, card=card, timeout=timeout)
        return JobGroup(
            [jobs.create(self.connection, spec, run_result, card=card, timeout=timeout) for spec, card in specs]
        )

    def recipes(self) -> Recipes:
        """The published set-ups that ``finetune(recipe=...)`` knows: what each is, its source, and what it sets.

        client.recipes()["labonte2024-waterbirds"].sets
        """
        return recipes()

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
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 60.0,
    ) -> Job[dict[str, FeatureSet]]:
        """Start caching the penultimate features of a checkpoint; ``.wait()`` gives feature sets by split.

        Parameters
        ----------
        checkpoint : a record, a digest, the start of one (at least 4 characters), or a name.
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
        tags, note : of every set, also of those that are stored already; see ``client.features.describe``.
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
        card, job_spec = encode.card(None, tags, note), jobs_pb2.JobSpec(extract=spec)
        return jobs.create(self.connection, job_spec, extract_result, card=card, timeout=timeout)
