"""Which fields of a request have an effect beside the others: a field that has none is refused, never dropped."""

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from penult_kernels.selection import BalanceBy, BalanceMethod
from penult_proto.errors import ErrorKind
from penult_proto.v1 import runs_pb2
from penult_server.datasets.model import Modality
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.request import CHOICES, NESTED, config_from_proto


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Some fields, and the requests in which they have an effect."""

    goes_with: str
    """As the request says it."""
    fields: tuple[str, ...]
    """Paths of the fields."""
    holds: Callable[[FinetuneConfig, Modality], bool]
    """Whether they have an effect on this run, on examples of this kind."""


RULES = (
    Rule(
        goes_with="epochs of at least 1 (with 0 nothing is trained, and only the starting point stored)",
        fields=(
            *("optimizer", "learning_rate", "weight_decay", "decay_all", "momentum", "clip_norm"),
            *("schedule", "schedule_by_epoch", "warmup", "batch_size", "accumulate", "processes"),
            *("precision", "compile", "flip", "crop_scale"),
            *("evaluate", "evaluate_every", "checkpoint_every", "early_steps", "save_every"),
            *(f"objective.{field.name}" for field in runs_pb2.Objective.DESCRIPTOR.fields),
        ),
        holds=lambda config, _: config.epochs > 0,
    ),
    Rule(
        goes_with="epochs of at least 1 (with 0 nothing is trained)",
        fields=("balance.method",),
        holds=lambda config, _: config.epochs > 0 or config.method is BalanceMethod.NONE,
    ),
    Rule(
        goes_with="a balance other than 'none'",
        fields=("balance.by",),
        holds=lambda config, _: config.method is not BalanceMethod.NONE,
    ),
    Rule(
        goes_with="a balance other than 'none' by='group'",
        fields=("balance.missing_groups",),
        holds=lambda config, _: config.method is not BalanceMethod.NONE and config.by is BalanceBy.GROUP,
    ),
    Rule(
        goes_with="balance='mixture'",
        fields=("balance.ratio",),
        holds=lambda config, _: config.method is BalanceMethod.MIXTURE,
    ),
    Rule(goes_with="optimizer='sgd'", fields=("momentum",), holds=lambda config, _: config.optimizer == "sgd"),
    Rule(
        goes_with="schedule='cosine' or 'linear'",
        fields=("schedule_by_epoch",),
        holds=lambda config, _: config.schedule != "constant",
    ),
    Rule(
        goes_with="loss='group_dro'",
        fields=("objective.group_dro_rate", "objective.group_dro_adjustment"),
        holds=lambda config, _: config.objective.loss == "group_dro",
    ),
    Rule(
        goes_with="loss='cvar_dro'",
        fields=("objective.cvar_fraction",),
        holds=lambda config, _: config.objective.loss == "cvar_dro",
    ),
    Rule(
        goes_with="repeat_errors_of=, the checkpoint whose errors are repeated",
        fields=("objective.repeat_errors",),
        holds=lambda config, _: bool(config.objective.repeat_errors_of),
    ),
    Rule(
        goes_with="a dataset of images",
        fields=("flip", "crop_scale", "image_size", "image_resize", "objective.mixup"),
        holds=lambda _, modality: modality == "image",
    ),
    Rule(
        goes_with="a dataset of texts",
        fields=("max_tokens", "pad_to_max", "pooling"),
        holds=lambda _, modality: modality == "text",
    ),
)
"""Fields that no rule names have an effect in every request."""

_NEEDED = {
    "balance.ratio": "the cap as a multiple of the smallest, at least 1, or 0 for the dataset's own imbalance",
    "objective.repeat_errors": "how often each error stands in an epoch",
}
"""Fields without a default: where they have an effect, they must be given."""


def complete(spec: runs_pb2.FinetuneSpec, modality: Modality) -> FinetuneConfig:
    """The configuration of a request; what it leaves out and has an effect is written into it.

    Raises ServiceError: INVALID_ARGUMENT for a field that was given and has no effect, naming what it goes with, and
    for one that is missing; those of `config_from_proto`.
    """
    config = config_from_proto(spec)
    _complete(spec, "", config, config, modality)
    _complete(spec.balance, "balance.", config, config, modality)
    _complete(spec.objective, "objective.", config.objective, config, modality)
    return config


def _complete(message: Message, prefix: str, values: object, config: FinetuneConfig, modality: Modality) -> None:
    """`values` holds what the message's fields mean, by their names."""
    given = {field.name for field, _ in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        path = prefix + field.name
        if path in NESTED:
            continue
        unheard = next((rule for rule in RULES if path in rule.fields and not rule.holds(config, modality)), None)
        if unheard is None:
            if path in _NEEDED and field.name not in given:
                raise _missing(path)
            _write(message, field.name, path, getattr(values, field.name, None))
        elif field.name in given:
            raise _without_effect(path, unheard)


def _write(message: Message, name: str, path: str, value: object) -> None:
    """Texts and lists stay as they are: an empty one is what it means to leave it out."""
    if path in CHOICES:
        setattr(message, name, next(number for number, one in CHOICES[path].items() if number and one == value))
    elif isinstance(value, bool | int | float):
        setattr(message, name, value)


def _argument(path: str) -> str:
    """A field by its name in the client."""
    return "balance" if path == "balance.method" else path.rsplit(".", maxsplit=1)[-1]


def _without_effect(path: str, rule: Rule) -> ServiceError:
    argument = _argument(path)
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"{argument} has no effect on this run: it goes with {rule.goes_with}; leave it out, or ask for that",
        field=argument,
    )


def _missing(path: str) -> ServiceError:
    argument = _argument(path)
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{argument} must be given: {_NEEDED[path]}", field=argument)
