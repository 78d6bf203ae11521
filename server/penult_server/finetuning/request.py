"""From a request on the wire to the configuration of a run, and back for what the request left out.

The fields of both have the same names; those of the message `balance` are in the configuration itself.
"""

from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_proto.enums import name_of, names_of
from penult_proto.errors import ErrorKind
from penult_proto.fields.finetune import NESTED, fields_of, written
from penult_proto.recipes import RECIPES
from penult_proto.v1 import runs_pb2
from penult_server.datasets.model import Modality
from penult_server.errors import ServiceError, unknown
from penult_server.finetuning.checks import WrongValueError, annotated, annotations_of, invalid
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.effects import HasEffect, Needed
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.start import Start

OF_START = frozenset({"backbone", "pretrained", "weights", "pooling", "image_size", "image_resize", "max_tokens"})
"""Fields that a start says; a recipe's then have no effect."""


def config_from_proto(spec: runs_pb2.FinetuneSpec) -> FinetuneConfig:
    """The configuration that a request names, with the defaults of what it leaves out; the dataset stands apart.

    Raises ServiceError as FinetuneConfig does, also for choices of a newer protocol.
    """
    try:
        given = _given(spec, "", apart=("dataset", "backbone", "recipe", *NESTED)) | _given(spec.balance, "balance.")
        objective = Objective(**_given(spec.objective, "objective."))
        start = Start(checkpoint=spec.start.checkpoint, refit=spec.start.refit)
        return FinetuneConfig(backbone=spec.backbone, objective=objective, start=start, **given)
    except WrongValueError as error:
        raise error.asked_by(spec) from None


def expand(spec: runs_pb2.FinetuneSpec) -> frozenset[str]:
    """Write the fields of a request's recipe into it where it leaves them out; gives their paths.

    Raises ServiceError (INVALID_ARGUMENT) for a name that there is not.
    """
    if not spec.recipe:
        return frozenset()
    if spec.recipe not in RECIPES:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "recipe", spec.recipe, list(RECIPES))
    asked, paths = runs_pb2.FinetuneSpec(), _paths_given(spec)
    asked.CopyFrom(spec)
    spec.CopyFrom(RECIPES[asked.recipe].request)
    added = _paths_given(spec) - paths
    spec.MergeFrom(asked)
    spec.ClearField("recipe")
    if spec.HasField("start"):
        for path in added & OF_START:
            _clear(spec, path)
    return added


def _paths_given(spec: runs_pb2.FinetuneSpec) -> frozenset[str]:
    return frozenset(
        path for path, message, field in fields_of(spec) if field.name in {one.name for one, _ in message.ListFields()}
    )


def complete(spec: runs_pb2.FinetuneSpec, modality: Modality, added: frozenset[str] = frozenset()) -> FinetuneConfig:
    """The configuration of a request; what it leaves out and has an effect is written into it.

    Of the fields `added` by a recipe those that have no effect are taken out again. Raises ServiceError:
    INVALID_ARGUMENT for a field that was given and has no effect, naming what it goes with, and for one that is
    missing; those of `config_from_proto`.
    """
    _drop_without_effect(spec, modality, added)
    config = config_from_proto(spec)
    for path, message, field in fields_of(spec):
        is_given = field.name in {one.name for one, _ in message.ListFields()}
        without = next((one for one in effects_of(path) if not one.holds(config, modality)), None)
        if without is None and not is_given:
            _write_default(path, message, field, config, spec)
        elif without is not None and is_given:
            raise _without_effect(path, without, spec)
    return config


def _drop_without_effect(spec: runs_pb2.FinetuneSpec, modality: Modality, added: frozenset[str]) -> None:
    """Take out the fields among `added` that have no effect, and those that have none without them."""
    dropped = True
    while added and dropped:
        dropped = False
        config = config_from_proto(spec)
        for path in added & _paths_given(spec):
            if not all(one.holds(config, modality) for one in effects_of(path)):
                _clear(spec, path)
                dropped = True


def _clear(request: Message, path: str) -> None:
    """Leave a field out, and the message that it was the last field of."""
    outer, _, name = path.rpartition(".")
    message: Message = getattr(request, outer) if outer else request
    message.ClearField(name)
    if outer and not message.ListFields():
        request.ClearField(outer)


def effects_of(path: str) -> list[HasEffect]:
    """The conditions under which a field has an effect, all of which must hold."""
    return [one for one in _annotations(path) if isinstance(one, HasEffect)]


def _annotations(path: str) -> tuple[Any, ...]:
    """What the configuration says about a field."""
    owner = Objective if path.startswith("objective.") else FinetuneConfig
    return annotated(annotations_of(owner).get(_name(path)))


def _name(path: str) -> str:
    return path.rsplit(".", maxsplit=1)[-1]


def _given(message: Message, prefix: str, apart: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields that were given, by their names, as the configuration holds them."""
    return {
        field.name: _from_wire(prefix + field.name, field, value)
        for field, value in message.ListFields()
        if field.name not in apart
    }


def _from_wire(path: str, field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is None:
        return value if isinstance(value, bool | int | float | str) else tuple(value)
    name = name_of(field.enum_type, value)
    if name is None:
        numbers = (str(one.number) for one in field.enum_type.values)
        raise invalid(path, f"one of the numbers {', '.join(numbers)}", value)
    return {"balance.method": BalanceMethod, "balance.by": BalanceBy}.get(path, str)(name)


def _write_default(
    path: str, message: Message, field: FieldDescriptor, config: FinetuneConfig, spec: runs_pb2.FinetuneSpec
) -> None:
    """Write a default into a request. An empty text or list counts as left out."""
    needed = next((one for one in _annotations(path) if isinstance(one, Needed)), None)
    if needed is not None:
        said = written(path, spec)
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"{said} must be given: {needed.meaning}", field=path, argument=said
        )
    value: Any = getattr(config.objective if path.startswith("objective.") else config, field.name, None)
    if field.enum_type is not None:
        setattr(message, field.name, names_of(cast("Any", field.enum_type))[value])
    elif isinstance(value, bool | int | float) or (isinstance(value, str) and value):
        setattr(message, field.name, value)


def _without_effect(path: str, effect: HasEffect, spec: runs_pb2.FinetuneSpec) -> ServiceError:
    said = written(path, spec)
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"{said} has no effect on this run: it goes with {effect.goes_with}; leave it out, or ask for that",
        field=path,
        argument=said,
    )
