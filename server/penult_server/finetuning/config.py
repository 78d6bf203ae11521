"""What a finetuning run is asked to do: of every argument its default, its range, and where it has an effect."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_server.backbones.catalog import HeadChoice, Pooling, library_of
from penult_server.finetuning.checks import (
    ABOVE_0,
    AT_LEAST_0,
    FROM_0_BELOW_1,
    Whole,
    check_fields,
    check_real,
    check_whole,
    invalid,
)
from penult_server.finetuning.effects import (
    BALANCED,
    BALANCED_BY_GROUP,
    BRINGS_HEAD,
    NOT_STARTED,
    OF_GROUP_RATIO,
    OF_IMAGES,
    OF_MIXTURE,
    OF_SGD,
    OF_TEXTS,
    SCHEDULED,
    TRAINED,
    TRAINED_OR_NONE,
    WITH_GROUPS,
    Needed,
)
from penult_server.finetuning.keep import check_keep
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.start import Start

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["constant", "cosine", "linear"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
MissingGroups = Literal["refuse", "skip"]

MAX_EPOCHS = 10_000
MAX_BATCH = 65_536
MAX_SIDE = 4096
MAX_TOKENS = 1_000_000
MAX_PROCESSES = 64
MAX_STEPS = 10**12
MAX_SEED = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """Everything that decides a run, except the data.

    Raises ServiceError: INVALID_ARGUMENT, naming the field, what was expected and what was got;
    UNKNOWN_BACKBONE for a name that no library can have.
    """

    backbone: str
    """A timm model name, a packaged name, a directory of a timm or transformers model, or a hub name."""
    epochs: Annotated[int, Whole(0, MAX_EPOCHS)] = 2
    """0 .. 10000. With 0 only the starting point is stored."""
    attribute: str = ""
    """Attribute that groups are made from; empty for the dataset's first."""
    pretrained: Annotated[bool, NOT_STARTED] = True
    """False starts from random weights."""
    method: Annotated[BalanceMethod, TRAINED_OR_NONE] = BalanceMethod.NONE
    """How the training examples are balanced."""
    by: Annotated[BalanceBy, BALANCED] = BalanceBy.CLASS
    """What the training examples are balanced over."""
    ratio: Annotated[
        float,
        OF_MIXTURE,
        Needed("the cap as a multiple of the smallest, at least 1, or 0 for the dataset's own imbalance"),
    ] = 1.0
    """Ratio of the mixture, at least 1: the cap, in multiples of the smallest count; 0 for the dataset's own
    imbalance."""
    group_ratio: Annotated[float | None, OF_GROUP_RATIO] = None
    """How frequent a class's minority is beside each of its other groups, in (0, 1]; None balances by group plainly."""
    missing_groups: Annotated[MissingGroups, BALANCED_BY_GROUP] = "refuse"
    """What is done about groups without a training example where groups are balanced; those without any in the whole
    dataset are left out in any case."""
    seed: Annotated[int, Whole(0, MAX_SEED)] = 0
    """Seed, 0 .. 2^64-1, of the head, the examples kept, their order, flips and dropout."""
    optimizer: Annotated[Optimizer, TRAINED] = "adamw"
    learning_rate: Annotated[float, ABOVE_0, TRAINED] = 1e-3
    """Peak of the learning rate, greater than 0."""
    weight_decay: Annotated[float, AT_LEAST_0, TRAINED] = 0.01
    """Weight decay, at least 0; applied to biases and normalisation layers only with `decay_all`."""
    momentum: Annotated[float, FROM_0_BELOW_1, TRAINED, OF_SGD] = 0.9
    """Momentum of SGD, in [0, 1)."""
    schedule: Annotated[Schedule, TRAINED] = "cosine"
    """How the learning rate falls after the warm-up, by the step; cosine and linear end at 0."""
    warmup: Annotated[float, FROM_0_BELOW_1, TRAINED] = 0.1
    """Fraction of all steps over which the learning rate rises from 0, in [0, 1)."""
    batch_size: Annotated[int, Whole(1, MAX_BATCH), TRAINED] = 32
    """Examples a step, 1 .. 65536."""
    flip: Annotated[bool, TRAINED, OF_IMAGES] = True
    """Random horizontal flips of the training images."""
    image_size: Annotated[int, Whole(0, MAX_SIDE), OF_IMAGES] = 0
    """Side of the square input in pixels; 0 takes the dataset's own size."""
    image_resize: Annotated[int, Whole(0, MAX_SIDE), OF_IMAGES] = 0
    """Pixels of the shorter side before the center crop of evaluation, at least `image_size`; 0 takes `image_size`."""
    max_tokens: Annotated[int, Whole(0, MAX_TOKENS), OF_TEXTS] = 128
    """Tokens kept of each text; unused for images."""
    evaluate: Annotated[tuple[str, ...], TRAINED] = ()
    """Splits whose group accuracies are measured; empty for all."""
    evaluate_every: Annotated[float, ABOVE_0, TRAINED] = 1.0
    """Epochs from one measurement to the next, greater than 0; the last step is always measured."""
    checkpoint_every: Annotated[float, ABOVE_0, TRAINED] = 1.0
    """Epochs from one checkpoint to the next, greater than 0; the start and the last step are always stored."""
    early_steps: Annotated[tuple[int, ...], Whole(1, MAX_STEPS), TRAINED] = ()
    """Further steps after which the model is measured and stored; those beyond the last are left out."""
    keep: Annotated[str, TRAINED] = "all"
    """Checkpoints that the run leaves of those it stores: "all", "last", "best", or a number k for every k-th."""
    save_every: Annotated[int, Whole(0, MAX_STEPS), TRAINED] = 0
    """Steps from one saving of the training state to the next, besides the end of every epoch; 0 chooses by time."""
    objective: Objective = field(default_factory=Objective)
    """What is minimised."""
    decay_all: Annotated[bool, TRAINED] = False
    """Decay biases and normalisation layers too."""
    schedule_by_epoch: Annotated[bool, TRAINED, SCHEDULED] = False
    """The learning rate falls by the epoch instead of by the step."""
    clip_norm: Annotated[float, AT_LEAST_0, TRAINED] = 0.0
    """Largest Euclidean norm of the gradient over all weights; 0 for none."""
    precision: Annotated[Precision, TRAINED] = "auto"
    """Precision of the forward passes in training; auto is bf16 on a GPU and fp32 on the CPU."""
    compile: Annotated[bool, TRAINED] = False
    """Train through torch.compile."""
    accumulate: Annotated[int, TRAINED] = 1
    """Parts that the examples of a step pass through the model in, 1 .. batch_size."""
    crop_scale: Annotated[float, FROM_0_BELOW_1, TRAINED, OF_IMAGES] = 0.0
    """Least fraction of a training image's area that a random crop keeps, in (0, 1); 0 crops none."""
    pad_to_max: Annotated[bool, OF_TEXTS] = False
    """Pad texts to `max_tokens` instead of to the longest of their batch."""
    processes: Annotated[int, Whole(1, MAX_PROCESSES), TRAINED] = 1
    """Processes on this machine that share each step; with `accumulate`, parts of at least one example."""
    weights: Annotated[str, NOT_STARTED] = ""
    """Absolute path of a file of pretrained weights of a timm architecture; empty for those that its name has."""
    pooling: Annotated[Pooling, OF_TEXTS] = "model"
    """What the head of a text model reads; unused for images."""
    start: Start = field(default_factory=Start)
    """What the run starts from in the place of the backbone's weights."""
    head: Annotated[HeadChoice, BRINGS_HEAD] = "keep"
    """What becomes of a head that `weights`, a directory as backbone or the start brings; without one, one is drawn."""
    grouping: Annotated[str, TRAINED, WITH_GROUPS] = ""
    """Digest of a grouping of the training examples, whose groups stand in for the attribute's in training."""

    def __post_init__(self) -> None:
        if not self.start:
            library_of(self.backbone)
        check_fields(self)
        check_keep(self.keep)
        check_whole("accumulate", self.accumulate, 1, max(1, self.batch_size // self.processes))
        if 0 < self.image_resize < self.image_size:
            raise invalid("image_resize", f"0 or at least their size, which is {self.image_size}", self.image_resize)
        if self.method is BalanceMethod.MIXTURE:
            check_real("ratio", self.ratio, "at least 1, or 0 for the dataset's", self.ratio >= 1 or self.ratio == 0)
        if self.group_ratio is not None:
            check_real("group_ratio", self.group_ratio, "in (0, 1]", 0 < self.group_ratio <= 1)
        if len(set(self.evaluate)) != len(self.evaluate):
            raise invalid("evaluate", "splits that differ", ", ".join(self.evaluate))
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse pieces that exclude each other rather than do something near to what was asked for."""
        if self.weights and not Path(self.weights).is_absolute():
            raise invalid("weights", "an absolute path on the server's machine", self.weights)
        if self.weights and not self.pretrained:
            raise invalid("pretrained", "true with weights, which it would not read", self.pretrained)
        if self.weights and library_of(self.backbone) != "timm":
            raise invalid(
                "weights",
                f"empty for {self.backbone!r}, a model of transformers: name its directory, or import the file with "
                "client.checkpoints.import_ and start from that",
                self.weights,
            )
        if self.start.refit and self.head == "new":
            raise invalid("head", "'keep' with a refit, whose head would not be read: start from its checkpoint", "new")
        whole_batch = self.objective.loss != "mean"
        if whole_batch and self.accumulate > 1:
            raise invalid(
                "accumulate", f"1 with loss={self.objective.kind}(), which weighs a batch as a whole", self.accumulate
            )
        if self.objective.loss == "group_dro" and self.method is BalanceMethod.UPWEIGHTING:
            raise invalid(
                "balance",
                "another than upweighting with loss=GroupDRO(): the weights are equal within each group, so that the "
                "groups' means would not depend on them (upsampling by group is usual)",
                self.method.value,
            )
        if self.objective.repeat_errors_of and self.method is not BalanceMethod.NONE:
            raise invalid(
                "balance",
                "none with repeat=RepeatErrors(), which says itself how often examples stand",
                self.method.value,
            )
        if self.objective.sam and self.precision == "fp16":
            raise invalid(
                "precision",
                "another than fp16 with the sam of optimizer=, whose two gradients would need two scales",
                "fp16",
            )
