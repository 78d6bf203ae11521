"""What a run minimises, beside its balancing."""

from dataclasses import dataclass
from typing import Annotated, Literal

from penult_proto.fields.finetune import GROUPS
from penult_server.finetuning.checks import ABOVE_0_TO_1, AT_LEAST_0, FROM_0_BELOW_1, Whole, check_fields, invalid
from penult_server.finetuning.effects import OF_CVAR_DRO, OF_GROUP_DRO, OF_IMAGES, OF_REPEATED_ERRORS, TRAINED, Needed

Loss = Literal["mean", "group_dro", "cvar_dro"]

MAX_REPEATS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Raises ServiceError (INVALID_ARGUMENT) for values out of range and for pieces that exclude each other."""

    loss: Annotated[Loss, TRAINED] = "mean"
    """mean: the weighted mean of the examples' losses; group_dro: sum_g q_g (mean loss of group g), q moving to the
    groups that do worst (Sagawa et al. 2020, arXiv 1911.08731); cvar_dro: the mean of the worst fraction of each batch
    (conditional value at risk; Levy et al. 2020, arXiv 2010.05893)."""
    group_dro_rate: Annotated[float, AT_LEAST_0, TRAINED, OF_GROUP_DRO] = 0.01
    """Step size of q, at least 0; with 0 the groups' means keep equal weights."""
    group_dro_adjustment: Annotated[float, AT_LEAST_0, TRAINED, OF_GROUP_DRO] = 0.0
    """C of the size adjustment C / sqrt(n_g), at least 0."""
    cvar_fraction: Annotated[float, ABOVE_0_TO_1, TRAINED, OF_CVAR_DRO] = 0.2
    """The worst fraction, in (0, 1]."""
    label_smoothing: Annotated[float, FROM_0_BELOW_1, TRAINED] = 0.0
    """Fraction of every target that is spread evenly over all classes, in [0, 1)."""
    mixup: Annotated[float, AT_LEAST_0, TRAINED, OF_IMAGES] = 0.0
    """alpha of Beta(alpha, alpha), by which two images are mixed (Zhang et al. 2018, arXiv 1710.09412); 0: without."""
    sam: Annotated[float, AT_LEAST_0, TRAINED] = 0.0
    """Radius rho of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412); 0 is without."""
    repeat_errors_of: Annotated[str, TRAINED] = ""
    """Digest of a checkpoint whose errors among the training examples are repeated: the second stage of "just train
    twice" (Liu et al. 2021, arXiv 2107.09044)."""
    repeat_errors: Annotated[
        int,
        Whole(1, MAX_REPEATS),
        TRAINED,
        OF_REPEATED_ERRORS,
        Needed("how often each error stands in an epoch"),
    ] = 1
    """Times that each of those errors stands in an epoch."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.loss != "mean" and (self.mixup or self.sam):
            raise invalid(
                "loss",
                "CrossEntropy() with augment=Augment(mixup=...) or the sam of optimizer=, which are defined for a mean "
                "of losses",
                self.kind,
            )

    @property
    def kind(self) -> str:
        """What the user calls the loss."""
        return next(kind for kind, loss in GROUPS["loss"].items() if loss == self.loss)
