"""What a run minimises, beside its balancing."""

from dataclasses import dataclass
from typing import Literal, get_args

from penult_server.finetuning.checks import check_choice, check_real, check_whole, invalid

Loss = Literal["mean", "group_dro", "cvar_dro"]

MAX_REPEATS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Raises ServiceError (INVALID_ARGUMENT) for values out of range and for pieces that exclude each other."""

    loss: Loss = "mean"
    """The weighted mean of the examples' losses; sum_g q_g (mean loss of group g), q moving towards the groups
    that do worst (Sagawa et al. 2020, arXiv 1911.08731); the mean of the worst fraction of each batch (conditional
    value at risk; Levy et al. 2020, arXiv 2010.05893)."""
    group_dro_rate: float = 0.01
    """Step size of q, at least 0; with 0 the groups' means weigh alike for ever."""
    group_dro_adjustment: float = 0.0
    """C of the size adjustment C / sqrt(n_g), at least 0."""
    cvar_fraction: float = 0.2
    """The worst fraction, in (0, 1]."""
    label_smoothing: float = 0.0
    """Share of every target that is spread evenly over all classes, in [0, 1)."""
    mixup: float = 0.0
    """alpha of Beta(alpha, alpha), by which two images are mixed (Zhang et al. 2018, arXiv 1710.09412); 0: without."""
    sam: float = 0.0
    """Radius rho of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412); 0 is without."""
    repeat_errors_of: str = ""
    """Digest of a checkpoint whose errors among the training examples are repeated: the second stage of "just train
    twice" (Liu et al. 2021, arXiv 2107.09044)."""
    repeat_errors: int = 1
    """Times that each of those errors stands in an epoch."""

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, get_args(Loss))
        check_real("group_dro_rate", self.group_dro_rate, "at least 0", self.group_dro_rate >= 0)
        check_real("group_dro_adjustment", self.group_dro_adjustment, "at least 0", self.group_dro_adjustment >= 0)
        check_real("cvar_fraction", self.cvar_fraction, "in (0, 1]", 0 < self.cvar_fraction <= 1)
        check_real("label_smoothing", self.label_smoothing, "in [0, 1)", 0 <= self.label_smoothing < 1)
        check_real("mixup", self.mixup, "at least 0", self.mixup >= 0)
        check_real("sam", self.sam, "at least 0", self.sam >= 0)
        check_whole("repeat_errors", self.repeat_errors, 1, MAX_REPEATS)
        if self.loss != "mean" and (self.mixup or self.sam):
            raise invalid("loss", "mean with mixup or sam, which are defined for a mean of losses", self.loss)
