"""Annotations of a configuration's fields: in which runs a field has an effect, and whether it has a default there.

A field without such an annotation has an effect on every run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_server.backbones.catalog import is_model_directory
from penult_server.datasets.model import Modality

if TYPE_CHECKING:
    from penult_server.finetuning.config import FinetuneConfig


@dataclass(frozen=True, slots=True)
class HasEffect:
    """The runs on which a field has an effect."""

    goes_with: str
    """The runs on which the field has an effect, by what their requests ask for."""
    holds: Callable[[FinetuneConfig, Modality], bool]
    """Whether a run on examples of a kind is one of them."""


@dataclass(frozen=True, slots=True)
class Needed:
    """Annotation of a field without a default: it must be given wherever it has an effect."""

    meaning: str


def has_files(config: FinetuneConfig) -> bool:
    """Whether a run begins with the weights of a file or a directory, which may hold a head."""
    return not config.start and config.pretrained and (bool(config.weights) or is_model_directory(config.backbone))


TRAINED: HasEffect = HasEffect(
    "epochs of at least 1 (with 0 nothing is trained, and only the starting point stored)",
    lambda config, _: config.epochs > 0,
)
TRAINED_OR_NONE: HasEffect = HasEffect(
    "epochs of at least 1 (with 0 nothing is trained)",
    lambda config, _: config.epochs > 0 or config.method is BalanceMethod.NONE,
)
BALANCED: HasEffect = HasEffect(
    "a balance other than 'none'", lambda config, _: config.method is not BalanceMethod.NONE
)
BALANCED_BY_GROUP: HasEffect = HasEffect(
    "a balance other than 'none' by='group'",
    lambda config, _: config.method is not BalanceMethod.NONE and config.by is BalanceBy.GROUP,
)
OF_MIXTURE: HasEffect = HasEffect("balance='mixture'", lambda config, _: config.method is BalanceMethod.MIXTURE)
OF_GROUP_RATIO: HasEffect = HasEffect(
    "balance='subsetting', 'upsampling' or 'upweighting' by='group'",
    lambda config, modality: BALANCED_BY_GROUP.holds(config, modality) and config.method is not BalanceMethod.MIXTURE,
)
OF_SGD: HasEffect = HasEffect("optimizer=SGD()", lambda config, _: config.optimizer == "sgd")
SCHEDULED: HasEffect = HasEffect(
    "schedule=Schedule('cosine') or 'linear'", lambda config, _: config.schedule != "constant"
)
OF_GROUP_DRO: HasEffect = HasEffect("loss=GroupDRO()", lambda config, _: config.objective.loss == "group_dro")
WITH_GROUPS: HasEffect = HasEffect(
    "a balance other than 'none' over groups, or loss=GroupDRO()",
    lambda config, modality: BALANCED_BY_GROUP.holds(config, modality) or OF_GROUP_DRO.holds(config, modality),
)
OF_CVAR_DRO: HasEffect = HasEffect("loss=CVaRDRO()", lambda config, _: config.objective.loss == "cvar_dro")
OF_REPEATED_ERRORS: HasEffect = HasEffect(
    "repeat=RepeatErrors() of a checkpoint, whose errors are repeated",
    lambda config, _: bool(config.objective.repeat_errors_of),
)
BRINGS_HEAD: HasEffect = HasEffect(
    "weights=, a directory as backbone, or start=", lambda config, _: bool(config.start) or has_files(config)
)
NOT_STARTED: HasEffect = HasEffect(
    "a run without start=, which brings the weights of another", lambda config, _: not config.start
)
OF_IMAGES: HasEffect = HasEffect("a dataset of images", lambda _, modality: modality == "image")
OF_TEXTS: HasEffect = HasEffect("a dataset of texts", lambda _, modality: modality == "text")
