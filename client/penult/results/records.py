"""What the service stores and describes: records that a user prints and passes on.

N examples, D features, C classes, A attributes, G = C * A groups; group g = y * n_attributes + a.
"""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from penult.arguments.coerce import number, text
from penult.display.html import Shown
from penult.display.names import in_usual_order, one_line
from penult.errors import from_kind, shown
from penult.files.savable import Savable
from penult.results.finetune_spec import FinetuneSpec
from penult.results.frames import frame
from penult.results.heads import Head
from penult.results.merge_origin import MergeOrigin
from penult.results.notes import Notes, lines
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from penult.results.metrics import EpochMetrics, Metrics


def short(digest: str) -> str:
    """The first 12 characters of a digest: enough to name it by."""
    return digest[:12]


def named(name: str) -> str:
    """A name as it stands in a line; empty without one."""
    return f"{name!r}, " if name else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone(Shown):
    """A backbone whose pretrained weights are installed on the server."""

    name: str
    library: str
    """``"timm"`` or ``"transformers"``."""
    weights: str
    """Where the weights come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeWorker(Shown):
    """A process of the server that answers queries."""

    device: str
    """``"cpu"`` or the name of the GPU; empty until it has started."""
    is_up: bool
    """Whether it answers; otherwise it is being started again, or not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info(Shown):
    """What a server is and can do."""

    version: str
    protocol: int
    device: str
    """``"cpu"`` or the name of the GPU; empty until the compute worker has started."""
    array_backend: str
    """``"numpy"`` or ``"cupy"``: what answers queries."""
    max_message_bytes: int
    chunk_bytes: int
    max_queued_jobs: int
    max_running_jobs: int
    packaged_backbones: tuple[Backbone, ...]
    n_feature_sets: int
    n_checkpoints: int
    n_results: int
    n_groupings: int
    root: str
    """Directory of the store, on the server's machine."""
    user: str
    """Whom the token or certificate names."""
    role: str
    """``"reader"``, ``"runner"`` or ``"admin"``: what that user may do. Empty from a server that does not say."""
    compute_workers: tuple[ComputeWorker, ...] = ()
    """Each has the features of other checkpoints in memory. Empty from a server that does not say."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Group(Shown):
    """A group, or a class (then `a` is -1 and `attribute_value` empty)."""

    index: int
    name: str
    """``"sneaker, grass"``, or ``"sneaker"`` for a class."""
    y: int
    a: int
    class_name: str
    attribute_value: str
    count: int
    """Examples in it, in the split at hand; 0 for an empty group."""

    def __repr__(self) -> str:
        return f"Group({self.index}: {self.name!r}, n={self.count})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels(Shown):
    """How classes and the attribute are named; the order gives the indices."""

    classes: tuple[str, ...]
    attribute: str
    attribute_values: tuple[str, ...]
    masks: tuple[str, ...]
    """Names of sets of examples that may overlap; the columns of `Features.masks`."""
    classes_by_index: bool = False
    """Whether the classes have no names: they are called, and matched, by their index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute(Shown):
    """A column of a dataset that groups can be made from."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split(Shown):
    """One split of a dataset; its groups are those of the first attribute."""

    name: str
    n_examples: int
    groups: tuple[Group, ...]
    mask_counts: tuple[int, ...]
    """Examples in each of the dataset's `masks`."""

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.stored import split_html

        return split_html(self)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Dataset(Shown):
    """Examples with a class and attributes, in splits."""

    name: str
    digest: str
    """sha256 over ids, labels, attributes, splits and the content of the examples."""
    modality: Literal["image", "text"]
    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    splits: tuple[Split, ...]
    masks: tuple[str, ...]
    """Names of sets of examples that may overlap, such as CivilComments' 16 evaluation groups."""
    description: str
    """Where the dataset comes from, and under which licence."""
    notes: Notes = ()
    """What is unusual about the dataset: of a published one, each split whose group counts are not the published
    ones."""
    tags: tuple[str, ...] = field(default=(), compare=False)
    note: str = field(default="", compare=False)
    user: str = field(default="", compare=False)
    """Who registered it, as the client said."""
    created: datetime | None = field(default=None, compare=False)
    """When it was registered; None of a packaged one."""

    def to_frame(self) -> pd.DataFrame:
        """One row per split and group. Raises ImportError when pandas is missing.

        Columns: `split` (train, val, test, then others by name), `group` (name), `y`, `a`, and `n`, the examples.
        """
        splits = {split.name: split for split in self.splits}
        rows = [(split, group) for name in in_usual_order(splits) for split in [splits[name]] for group in split.groups]
        return frame(
            {
                "split": [split.name for split, _ in rows],
                "group": [group.name for _, group in rows],
                "y": [group.y for _, group in rows],
                "a": [group.a for _, group in rows],
                "n": [group.count for _, group in rows],
            },
            self.notes,
        )

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.stored import dataset_html

        return dataset_html(self)

    def __repr__(self) -> str:
        splits = ", ".join(f"{split.name} {split.n_examples}" for split in self.splits)
        attributes = ", ".join(attribute.name for attribute in self.attributes)
        described = f"{self.name}, {self.modality}, classes {self.classes}, by {attributes}; {splits}"
        return f"Dataset({described}){lines(self.notes)}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Checkpoint(Shown):
    """Weights and head after an epoch of a run, whose start is epoch 0; of an imported model; or merged of others."""

    digest: str
    """sha256 over weights, preprocessing, dataset, attribute and, if imported, classes: the checkpoint's identity."""
    run_id: str
    """Empty for one that was imported or merged."""
    epoch: float
    """Epochs trained; a fraction for one left within an epoch."""
    step: int
    """Optimiser steps taken."""
    backbone: str
    dataset: str
    """Empty, as is its digest, for an imported one whose dataset was not said."""
    dataset_digest: str
    n_features: int
    n_classes: int
    head_error: float
    """Largest |head(features) - logits| when it was checked, relative to the largest |logit|."""
    created: datetime | None
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of the head's rows."""
    model: str = ""
    """sha256 over what decides the features, weights and preprocessing: checkpoints of two runs may share it."""
    source: str = "run"
    """``"run"``, ``"import NAME sha256:DIGEST"``; of a merge ``"run"`` or ``"import"``, and ``", merged: METHOD"``."""
    head: Literal["trained", "kept", "new", "merged"] = "trained"
    """Where the head comes from: trained by its run, kept from the model or the parent that it began with, drawn
    afresh, or merged with the rest."""
    merge: MergeOrigin | None = None
    """What it was merged of, and how; None where it was not."""
    name: str = field(default="", compare=False)
    """The newest name that it was given; empty without one. A name moves to the newest thing it is given to."""
    tags: tuple[str, ...] = field(default=(), compare=False)
    note: str = field(default="", compare=False)
    user: str = field(default="", compare=False)
    """Who asked first, as the client said; empty when not known."""
    notes: Notes = field(default=(), compare=False)
    """How the files of an imported one were read: which weights were taken, and what became of the head; and, said
    once, such as from which other checkpoint a name was taken."""

    def __repr__(self) -> str:
        where = f" on {one_line(self.dataset)}" if self.dataset else ""
        when = f"epoch {self.epoch:g}" if self.source == "run" else f"{one_line(self.source[:-52])}, head {self.head}"
        if self.merge is not None:
            when = f"{self.merge.method} of {len(self.merge.parents)}, head {self.head}"
        what = f"{named(self.name)}{one_line(self.backbone)}{where}"
        return f"Checkpoint({short(self.digest)}, {what}, {when}){lines(self.notes)}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Run(Shown, Savable):
    """A finetuning run."""

    id: str
    spec: FinetuneSpec
    dataset_digest: str
    n_train_examples: int
    """Training examples of an epoch, after balancing."""
    checkpoints: tuple[Checkpoint, ...]
    """Checkpoints in the order of their epoch, from 0."""
    history: tuple[EpochMetrics, ...]
    """Metrics of every measured split after every epoch."""
    created: datetime | None
    train_seconds: float
    """Seconds of the training steps alone, evaluation left out."""
    steps_per_epoch: int
    notes: Notes = ()
    """What the numbers of the run alone do not say, such as that balancing left out groups without an example, or how
    the classes of `repeat=` were matched."""
    name: str = field(default="", compare=False)
    """The newest name that it was given; empty without one. A name moves to the newest thing it is given to."""
    tags: tuple[str, ...] = field(default=(), compare=False)
    note: str = field(default="", compare=False)
    user: str = field(default="", compare=False)
    """Who asked first, as the client said; empty when not known."""

    def metrics(self, split: str, epoch: float = -1) -> Metrics:
        """Metrics of a split after an epoch; -1 for the last. Raises `NotFound`, listing what was measured."""
        wanted, at = text("split", split), number("epoch", epoch)
        of_split = {entry.epoch: entry.metrics for entry in self.history if entry.split == wanted}
        if at == -1 and of_split:
            return of_split[max(of_split)]
        if at not in of_split:
            known = sorted({(entry.split, entry.epoch) for entry in self.history})
            raise from_kind(
                ErrorKind.UNKNOWN_RESULT,
                f"no metrics of split {shown(wanted)} at epoch {at:g}; measured (split, epoch): {known}",
            )
        return of_split[at]

    def to_frame(self) -> pd.DataFrame:
        """One row per epoch, split and group. Raises ImportError when pandas is missing.

        Columns: `epoch` (trained; a fraction within one), `split`, `group` (name), `n`, `accuracy` of the group, and
        `average_accuracy` and `worst_group_accuracy` of the split, which repeat in its rows.
        """
        rows = [
            (entry, group, accuracy)
            for entry in self.history
            for group, accuracy in zip(entry.metrics.groups, entry.metrics.group_accuracy, strict=True)
        ]
        return frame(
            {
                "epoch": [entry.epoch for entry, _, _ in rows],
                "split": [entry.split for entry, _, _ in rows],
                "group": [group.name for _, group, _ in rows],
                "n": [group.count for _, group, _ in rows],
                "accuracy": [float(accuracy) for _, _, accuracy in rows],
                "average_accuracy": [entry.metrics.average_accuracy for entry, _, _ in rows],
                "worst_group_accuracy": [entry.metrics.worst_group_accuracy for entry, _, _ in rows],
            },
            self.notes,
        )

    def plot(self) -> Figure:
        """Accuracies over epochs, one panel per split: every group, the average and the worst group.

        Splits stand in the order train, val, test, then the others by name. Of more than 7 groups, those that are
        lowest at the end have a colour. Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.history import history_figure

        return history_figure(self)

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.stored import run_html

        return run_html(self)

    def __repr__(self) -> str:
        spec = self.spec
        last = {entry.split: entry.metrics for entry in sorted(self.history, key=lambda entry: entry.epoch)}
        scores = [
            f"{split} worst group {last[split].worst_group_accuracy:.3f} ({one_line(last[split].worst_group.name)})"
            for split in ("val", "test")
            if split in last
        ]
        what = f"{named(self.name)}{one_line(PurePosixPath(spec.backbone).name)} on {one_line(spec.dataset)}"
        return (
            f"Run({self.id}, {what}, balance {spec.balance}, "
            f"seed {spec.seed}, {len(self.checkpoints)} checkpoints{'; ' if scores else ''}{', '.join(scores)})"
            f"{lines(self.notes)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunManifest(Shown, Savable):
    """What is needed to run a run again."""

    run_id: str
    spec: FinetuneSpec
    dataset_digest: str
    weights: str
    """What the starting weights were: "package NAME VERSION", "directory SHA256", "hub NAME" or "random"."""
    kept_row_ids: NDArray[np.uint64]
    """Training examples of an epoch: those that the balancing kept, in the order of the split; then, again, those that
    are repeated."""
    versions: dict[str, str]
    """Versions of the libraries that decide the numbers, and of Python."""
    device: str
    """``"cpu"`` or the name of the GPU."""
    threads: int
    """Threads that torch used on the CPU."""
    resumed_at: tuple[int, ...]
    """Steps from which the run was resumed after it had been killed."""
    created: datetime | None

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.stored import manifest_html

        return manifest_html(self)

    def __repr__(self) -> str:
        return f"RunManifest({self.run_id}, seed {self.spec.seed}, {len(self.kept_row_ids)} examples, {self.device})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FeatureSet(Shown):
    """Penultimate features of one split under one checkpoint, or a user's own arrays. They stay on the server."""

    digest: str
    names: tuple[str, ...]
    """All names that it was given, the newest first. A name moves to the newest set it is given to, a digest never."""
    n_examples: int
    n_features: int
    dtype: str
    labels: Labels
    groups: tuple[Group, ...]
    has_logits: bool
    has_head: bool
    feature_kind: str
    """``"pooled"``: exactly what the head multiplies; ``"uploaded"``: the user's own."""
    checkpoint: str
    """Digest of the checkpoint; empty when uploaded, as are `dataset`, `dataset_digest` and `split`."""
    dataset: str
    dataset_digest: str
    split: str
    created: datetime | None
    stored_bytes: int
    train_shares: NDArray[np.float64]
    """(G,) fraction of each group among the training examples; empty when not known."""
    extract_rate: float
    """Examples per second of the extraction; 0 when uploaded."""
    attributes: tuple[Attribute, ...]
    """All attribute columns of the dataset; `labels.attribute` is the one that `a` and the groups are made of."""
    notes: Notes = ()
    """How labels were read, where that is not obvious."""
    name: str = field(default="", compare=False)
    """The newest name that it was given; empty without one. A name moves to the newest thing it is given to."""
    tags: tuple[str, ...] = field(default=(), compare=False)
    note: str = field(default="", compare=False)
    user: str = field(default="", compare=False)
    """Who asked first, as the client said; empty when not known."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureSet) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_frame(self) -> pd.DataFrame:
        """One row per group. Raises ImportError when pandas is missing.

        Columns: `group` (name), `y`, `a`, `n`, and `train_share`, the fraction of the group among the training examples
        (NaN where that is not known).
        """
        shares = self.train_shares if len(self.train_shares) else np.full(len(self.groups), np.nan)
        return frame(
            {
                "group": [group.name for group in self.groups],
                "y": [group.y for group in self.groups],
                "a": [group.a for group in self.groups],
                "n": [group.count for group in self.groups],
                "train_share": shares.tolist(),
            },
            self.notes,
        )

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.stored import feature_set_html

        return feature_set_html(self)

    def __repr__(self) -> str:
        of_dataset = [f"{self.dataset}/{self.split}"] if self.dataset else []
        origin = ", ".join([*of_dataset, *map(repr, self.names)]) or "uploaded"
        return (
            f"FeatureSet({short(self.digest)}, {one_line(origin)}, {self.n_examples} x {self.n_features} {self.dtype}, "
            f"{len(self.groups)} groups){lines(self.notes)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Features(Shown):
    """The arrays of a feature set."""

    feature_set: FeatureSet
    features: NDArray[Any]
    """(N, D) float32 or float16, as stored."""
    y: NDArray[np.int64]
    """(N,)"""
    a: NDArray[np.int64]
    """(N,)"""
    row_id: NDArray[np.uint64]
    """(N,)"""
    logits: NDArray[np.float32] | None
    """(N, C) logits of the checkpoint's own head; None when uploaded without."""
    head_weight: NDArray[Any] | None
    """(C, D) weight of the head; None when the set has no head."""
    head_bias: NDArray[Any] | None
    """(C,)"""
    attributes: NDArray[np.int64] | None
    """(N, number of attribute columns) indices of values, as `feature_set.attributes` names them; None when
    uploaded."""
    masks: NDArray[np.bool_] | None
    """(N, M) which rows belong to each of `feature_set.labels.masks`; None without masks."""

    @property
    def head(self) -> Head | None:
        """The head stored with the set, with the names of its classes; None when there is none."""
        if self.head_weight is None or self.head_bias is None:
            return None
        labels, checkpoint = self.feature_set.labels, self.feature_set.checkpoint
        classes = None if labels.classes_by_index else labels.classes
        weight, bias = self.head_weight.astype(np.float64), self.head_bias.astype(np.float64)
        return Head(weight=weight, bias=bias, classes=classes, checkpoint=checkpoint)

    @property
    def g(self) -> NDArray[np.int64]:
        """(N,) group indices, y * n_attributes + a."""
        return self.y * max(1, len(self.feature_set.labels.attribute_values)) + self.a

    def to_frame(self) -> pd.DataFrame:
        """One row per example, without the features. Raises ImportError when pandas is missing.

        Columns: `row_id`, `y`, `a`, `g` (the index of the group), `class` and `group` (names).
        """
        names = {group.index: group.name for group in self.feature_set.groups}
        classes = self.feature_set.labels.classes
        g: list[int] = self.g.tolist()
        y: list[int] = self.y.tolist()
        return frame(
            {
                "row_id": self.row_id.tolist(),
                "y": y,
                "a": self.a.tolist(),
                "g": g,
                "class": [classes[one] for one in y],
                "group": [names[index] for index in g],
            },
            self.feature_set.notes,
        )

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.stored import features_html

        return features_html(self)

    def __repr__(self) -> str:
        return f"Features({self.features.shape} {self.features.dtype} of {self.feature_set!r})"
