"""Where the user of the Python client writes each field of a finetuning request: the one table of it.

A field is called by its path on the wire, such as "objective.mixup". Most arguments of `Client.finetune` have the name
of their field; the others are options of a class of the client, such as ``augment=Augment(mixup=0.2)``. The generator,
the client's requests and records, and the server's error texts all read it here. A field that is new in `FinetuneSpec`
is an argument of its own name without another line; `OPTIONS` makes it an option.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from penult_proto.enums import name_of
from penult_proto.v1 import runs_pb2

NESTED = ("balance", "objective", "start")
"""Messages within the request; in the configuration of a run the fields of `balance` stand in the request itself."""
GROUPS: Mapping[str, Mapping[str, str]] = {
    "optimizer": {"AdamW": "adamw", "SGD": "sgd"},
    "schedule": {"Schedule": ""},
    "loss": {"CrossEntropy": "mean", "GroupDRO": "group_dro", "CVaRDRO": "cvar_dro"},
    "augment": {"Augment": ""},
    "repeat": {"RepeatErrors": ""},
    "inputs": {"Images": "", "Texts": ""},
    "compute": {"Compute": ""},
    "record": {"Record": ""},
}
"""The classes of options by their argument, the default's first, each with the choice that it is on the wire."""
KINDS: Mapping[str, str] = {"optimizer": "optimizer", "objective.loss": "loss"}
"""Fields that say which class of options was given, with its argument."""
RENAMED: Mapping[str, str] = {
    "balance.method": "balance",
    "start.checkpoint": "start",
    "start.refit": "start",
    "grouping": "by",
}
"""Arguments whose name differs from their field's. A `by` that is neither class nor group is a grouping."""
OPTIONS: Mapping[str, str] = {
    "learning_rate": "AdamW|SGD.learning_rate",
    "weight_decay": "AdamW|SGD.weight_decay",
    "decay_all": "AdamW|SGD.decay_all",
    "momentum": "SGD.momentum",
    "clip_norm": "AdamW|SGD.clip_norm",
    "objective.sam": "AdamW|SGD.sam",
    "schedule": "Schedule.name",
    "warmup": "Schedule.warmup",
    "schedule_by_epoch": "Schedule.by_epoch",
    "objective.group_dro_rate": "GroupDRO.rate",
    "objective.group_dro_adjustment": "GroupDRO.adjustment",
    "objective.cvar_fraction": "CVaRDRO.fraction",
    "objective.label_smoothing": "CrossEntropy|GroupDRO|CVaRDRO.label_smoothing",
    "flip": "Augment.flip",
    "crop_scale": "Augment.crop_scale",
    "objective.mixup": "Augment.mixup",
    "objective.repeat_errors_of": "RepeatErrors.checkpoint",
    "objective.repeat_errors": "RepeatErrors.times",
    "image_size": "Images.size",
    "image_resize": "Images.resize",
    "max_tokens": "Texts.max_tokens",
    "pad_to_max": "Texts.pad_to_max",
    "pooling": "Texts.pooling",
    "precision": "Compute.precision",
    "compile": "Compute.compile",
    "accumulate": "Compute.accumulate",
    "processes": "Compute.processes",
    "evaluate_every": "Record.evaluate_every",
    "checkpoint_every": "Record.checkpoint_every",
    "early_steps": "Record.early_steps",
    "keep": "Record.keep",
    "save_every": "Record.save_every",
}
"""Fields that are options: the classes that have it, and its name there."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a field is written."""

    argument: str
    """The argument of `Client.finetune`."""
    option: str = ""
    """The name of the option; empty for the argument itself, and for the choice of a class."""
    classes: tuple[str, ...] = ()
    """The classes that have the option."""


def fields_of(spec: runs_pb2.FinetuneSpec) -> Iterator[tuple[str, Message, FieldDescriptor]]:
    """Every field of a request by its path, with the message that it is a field of."""
    for prefix, message in (("", spec), *((f"{name}.", getattr(spec, name)) for name in NESTED)):
        for field in message.DESCRIPTOR.fields:
            if field.name not in NESTED:
                yield prefix + field.name, message, field


def _place(path: str) -> Place:
    if path in OPTIONS:
        classes, _, option = OPTIONS[path].partition(".")
        first, *others = classes.split("|")
        argument = next(name for name, kinds in GROUPS.items() if first in kinds)
        return Place(argument, option, (first, *others))
    return Place(KINDS.get(path) or RENAMED.get(path) or path.rpartition(".")[2])


PLACES: Mapping[str, Place] = {path: _place(path) for path, _, _ in fields_of(runs_pb2.FinetuneSpec())}
"""The place of every field, by its path."""


def path_of(name: str) -> str:
    """The path of a field by its name alone (they all differ), or by that of its argument; any other name as it is."""
    named = (path for path in PLACES if name in (path, path.rpartition(".")[2]))
    written_so = (path for path, place in PLACES.items() if name == place.argument and not place.option)
    return next(chain(named, written_so), name)


def chosen(argument: str, spec: runs_pb2.FinetuneSpec) -> str:
    """The class of options that a request has for an argument: the default's where it says nothing."""
    kinds = GROUPS[argument]
    for path, message, field in fields_of(spec):
        if KINDS.get(path) == argument and field.enum_type is not None:
            name = name_of(field.enum_type, getattr(message, field.name))
            return next((kind for kind, choice in kinds.items() if choice == name), next(iter(kinds)))
    return next(iter(kinds))


def written(path: str, spec: runs_pb2.FinetuneSpec | None = None) -> str:
    """How a field reads in a script, such as ``augment=Augment(mixup=...)``; names of other things as they are."""
    place = PLACES.get(path)
    if place is None:
        return path
    if not place.option:
        return place.argument
    used = "" if spec is None else chosen(place.argument, spec)
    return f"{place.argument}={used if used in place.classes else place.classes[0]}({place.option}=...)"
