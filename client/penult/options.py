"""Options of `Client.finetune` by topic. Everything that is left out, or None, takes the server's default.

The line "Defaults:" of each class says what that is. Values out of range and options without an effect on a run are
refused by the server, when the run is asked for.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Literal

from penult.types import PoolingName, PrecisionName, ScheduleName

if TYPE_CHECKING:
    from penult.results.records import Checkpoint


class Options:
    """Options of one topic; they print as they were written."""

    __slots__ = ()

    def __repr__(self) -> str:
        given = ((one.name, getattr(self, one.name)) for one in fields(self))  # pyright: ignore[reportArgumentType]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given if value is not None)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AdamW(Options):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101); betas .9 and .999.

    Defaults: AdamW(learning_rate=0.001, weight_decay=0.01, decay_all=False, clip_norm=0.0, sam=0.0)

    Parameters
    ----------
    learning_rate : peak of the learning rate, above 0.
    weight_decay : decay of weights, at least 0; of biases and normalisation layers only with `decay_all`.
    decay_all : decay biases and normalisation layers, too.
    clip_norm : largest Euclidean norm of the gradient over all weights; 0 for none.
    sam : radius of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412); 0 is without.
    """

    learning_rate: float | None = None
    weight_decay: float | None = None
    decay_all: bool | None = None
    clip_norm: float | None = None
    sam: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SGD(Options):
    """Stochastic gradient descent, with momentum as PyTorch has it; the decay is added to the gradient.

    Defaults: SGD(learning_rate=0.001, momentum=0.9, weight_decay=0.01, decay_all=False, clip_norm=0.0, sam=0.0)

    Parameters
    ----------
    learning_rate : peak of the learning rate, above 0.
    momentum : momentum, in [0, 1).
    weight_decay : decay of weights, at least 0; of biases and normalisation layers only with `decay_all`.
    decay_all : decay biases and normalisation layers, too.
    clip_norm : largest Euclidean norm of the gradient over all weights; 0 for none.
    sam : radius of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412); 0 is without.
    """

    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    decay_all: bool | None = None
    clip_norm: float | None = None
    sam: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Schedule(Options):
    """How the learning rate goes: up from 0 in the warm-up, then down as the name says.

    Defaults: Schedule("cosine", warmup=0.1, by_epoch=False)

    Parameters
    ----------
    name : "constant"; "cosine" (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts) or "linear", which end
        at 0.
    warmup : fraction of all steps in which the learning rate rises from 0, in [0, 1).
    by_epoch : change the learning rate by the epoch instead of by the step; the warm-up goes by the step.
    """

    name: ScheduleName | None = None
    _: KW_ONLY
    warmup: float | None = None
    by_epoch: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CrossEntropy(Options):
    """The mean of the examples' cross-entropies, weighted as the balancing says.

    Defaults: CrossEntropy(label_smoothing=0.0)

    Parameters
    ----------
    label_smoothing : fraction of every target that is spread over all classes, in [0, 1) (Szegedy et al. 2016, arXiv
        1512.00567).
    """

    label_smoothing: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class GroupDRO(Options):
    """The mean losses of the groups, weighted by q, which moves to the worst (Sagawa et al. 2020, arXiv 1911.08731).

    Usually with ``balance="upsampling", by="group"``.

    Defaults: GroupDRO(rate=0.01, adjustment=0.0, label_smoothing=0.0)

    Parameters
    ----------
    rate : step size of q, at least 0.
    adjustment : C of the size adjustment C / sqrt(n_g) for a group of n_g training examples, at least 0.
    label_smoothing : fraction of every target that is spread over all classes, in [0, 1).
    """

    rate: float | None = None
    adjustment: float | None = None
    label_smoothing: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CVaRDRO(Options):
    """The mean of the largest losses of each batch, the conditional value at risk (Levy et al. 2020, arXiv 2010.05893).

    Defaults: CVaRDRO(fraction=0.2, label_smoothing=0.0)

    Parameters
    ----------
    fraction : fraction of a batch that counts, in (0, 1], weighted as the balancing says.
    label_smoothing : fraction of every target that is spread over all classes, in [0, 1).
    """

    fraction: float | None = None
    label_smoothing: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Augment(Options):
    """Random changes of training images; of images alone.

    Defaults: Augment(flip=True, crop_scale=0.0, mixup=0.0)

    Parameters
    ----------
    flip : flip half of the images horizontally.
    crop_scale : least fraction of an image's area that a random crop keeps, such as 0.7; 0 crops none.
    mixup : alpha of Beta(alpha, alpha), by which two images and their labels are mixed (Zhang et al. 2018, arXiv
        1710.09412); 0 mixes none.
    """

    flip: bool | None = None
    crop_scale: float | None = None
    mixup: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class RepeatErrors(Options):
    """The second stage of "just train twice" (Liu et al. 2021, arXiv 2107.09044, algorithm 1). Neither has a default.

    Their paper says 20 times; their code adds 20 copies to the data, so that ``times=21`` repeats its runs.

    Parameters
    ----------
    checkpoint : the checkpoint whose errors among the training examples are repeated, or its digest or name.
    times : how often each of those errors stands in an epoch, itself counted; 1 repeats none.
    """

    checkpoint: "Checkpoint | str"
    _: KW_ONLY
    times: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Images(Options):
    """How images are read, in training and everywhere else.

    Defaults: Images(size=0, resize=0)

    Parameters
    ----------
    size : side of the square that the model sees, in pixels; 0 for the dataset's own.
    resize : shorter side in pixels before the center crop to `size`, such as 256 for 224; 0 for `size`, so that the
        crop keeps the whole shorter side.
    """

    size: int | None = None
    resize: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Texts(Options):
    """How texts are read, in training and everywhere else.

    Defaults: Texts(max_tokens=128, pad_to_max=False, pooling="model")

    Parameters
    ----------
    max_tokens : tokens kept of each text.
    pad_to_max : pad every text to `max_tokens` instead of to the longest of its batch.
    pooling : what the head reads: "model" for what the model's own classifier does, such as BERT's pooled first token;
        "mean" for the mean of the last hidden states over the tokens (Reimers and Gurevych 2019, arXiv 1908.10084).
    """

    max_tokens: int | None = None
    pad_to_max: bool | None = None
    pooling: PoolingName | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Compute(Options):
    """How the steps are computed: what they cost in time and memory.

    Defaults: Compute(precision="auto", compile=False, accumulate=1, processes=1)

    Parameters
    ----------
    precision : of the forward passes in training: "fp32", or autocast to "bf16" or "fp16" (with a scaled loss); "auto"
        is bf16 on a GPU and fp32 on the CPU.
    compile : train through torch.compile.
    accumulate : micro-batches per step, which pass through the model one after the other, to need less memory. The
        gradient is the same, except through batch normalisation, which normalises over each micro-batch alone and
        updates its running statistics once per micro-batch. Where that would be over a single value (1 x 1 maps),
        micro-batches of one example are joined at the end of an epoch, and refused where `batch_size` makes them.
    processes : processes on the server's machine that share each step, a GPU each where there are any.
    """

    precision: PrecisionName | None = None
    compile: bool | None = None
    accumulate: int | None = None
    processes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record(Options):
    """When a run is measured and stored. The last step is always measured and stored, the start always stored.

    Defaults: Record(evaluate_every=1.0, checkpoint_every=1.0, keep="all", save_every=0)

    Parameters
    ----------
    evaluate_every : epochs from one measurement to the next; 0.25 for four in an epoch.
    checkpoint_every : epochs from one checkpoint to the next.
    early_steps : further steps after which the model is measured and stored, such as ``[1, 2, 5, 10, 20, 50]``; those
        beyond the last are left out.
    keep : checkpoints that the run leaves of those it stores: "all"; "last"; "best", the one with the highest
        worst-group accuracy on the split "val", the earlier of equal ones; or a number k: the start, every k-th after
        it, and the last. The others are deleted as the run goes, once its training state no longer needs them; not
        where another run has stored, or features were extracted from, the same checkpoint. "best" stores only
        checkpoints of steps that are measured, and is refused where "val" is not evaluated. It changes no number, but
        ``run.checkpoints``: a run with another policy is another run.
    save_every : steps between savings of the training state, from which a killed run resumes; 0 for as often as costs
        about 2 % of the time.
    """

    evaluate_every: float | None = None
    checkpoint_every: float | None = None
    early_steps: Sequence[int] | None = None
    keep: Literal["all", "last", "best"] | int | None = None
    save_every: int | None = None
