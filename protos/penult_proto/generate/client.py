"""What the client's code takes from the protocol and from its own `refit`: part of ``penult_proto.generate``.

``types.py`` has the names of choices. ``wire/refit_arguments.py`` and ``results/refit_settings.py`` have the arguments
of a refit as dictionaries, and the record of what they were: from the signature of `Refitting.refit` and the fields of
a path.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from penult_proto.enums import Enumeration, choices_of
from penult_proto.fields.finetune import GROUPS
from penult_proto.fields.refit import ARGUMENTS, GRID
from penult_proto.merge_methods import HEADS, METHODS
from penult_proto.presets import PRESETS
from penult_proto.recipes import RECIPES
from penult_proto.v1 import (
    catalog_pb2,
    datasets_pb2,
    groups_pb2,
    jobs_pb2,
    merges_pb2,
    neighbours_pb2,
    runs_pb2,
    spectra_pb2,
    storage_pb2,
)
from penult_proto.v1 import refits_pb2 as pb

CLIENT = Path(__file__).resolve().parents[3] / "client" / "penult"
LINE = 120
MADE = "Made by ``python -m penult_proto.generate``."

CHOICES: dict[str, "Enumeration[Any] | tuple[str, ...]"] = {
    "BalanceMethod": groups_pb2.BalanceMethod,
    "BatchNormRule": merges_pb2.BatchNormRule,
    "BatchNormStream": merges_pb2.BatchNormStream,
    "By": groups_pb2.BalanceBy,
    "ExportFormat": ("timm", "transformers", "safetensors"),
    "FeatureKind": ("pooled", "flat"),
    "FileHead": runs_pb2.HeadName,
    "ForeignObjects": jobs_pb2.ForeignObjects,
    "GridName": tuple(GRID),
    "GroupSource": pb.GroupSource,
    "HeadChoice": pb.HeadKind,
    "HeadSoupRule": pb.HeadSoupRule,
    "ImbalanceInference": spectra_pb2.ImbalanceInference,
    "Intercept": pb.Intercept,
    "JobState": jobs_pb2.JobState,
    "Layout": datasets_pb2.DatasetLayout,
    "Link": pb.Link,
    "MergeHeads": HEADS,
    "MergeMethodName": tuple(METHODS),
    "MergeScope": merges_pb2.MergeScope,
    "MissingGroups": groups_pb2.MissingGroups,
    "NeighbourMethod": neighbours_pb2.NeighbourMethod,
    "NeighbourMetric": neighbours_pb2.NeighbourMetric,
    "NeighbourWithin": neighbours_pb2.NeighbourWithin,
    "OffsetChoice": pb.OffsetKind,
    "PathKeep": pb.PathKeep,
    "PathOptimizer": pb.PathOptimizer,
    "PathSchedule": pb.PathSchedule,
    "PenaltyScale": pb.PenaltyScale,
    "PoolingName": runs_pb2.PoolingName,
    "PrecisionName": runs_pb2.Precision,
    "Preset": tuple(PRESETS),
    "RecipeName": tuple(RECIPES),
    "ResultKind": catalog_pb2.ResultKind,
    "Risk": pb.RiskKind,
    "RowsChoice": pb.RowsKind,
    "Scaling": pb.ScalingKind,
    "ScheduleName": runs_pb2.ScheduleName,
    "SelectFinal": pb.SelectFinal,
    "SelectMetric": pb.SelectMetric,
    "SpectraWeights": spectra_pb2.SpectraWeights,
    "StorageType": ("float32", "float16"),
    "StoredKind": storage_pb2.StoredKind,
    "Ties": ("first", "last"),
    "WeightsChoice": pb.WeightsKind,
}
"""What the client calls each enumeration; those that the wire carries as text are listed here."""
HOMES = {
    **dict.fromkeys(CHOICES, "penult.types"),
    **dict.fromkeys([name for kinds in GROUPS.values() for name in kinds], "penult.options"),
    "Any": "typing",
    "ArrayLike": "numpy.typing",
    "ByLike": "penult.wire.references",
    "Checkpoint": "penult.results.records",
    "Dataset": "penult.results.records",
    "Refit": "penult.results.refits",
    "FeatureSetLike": "penult.wire.references",
    "GroupingLike": "penult.wire.references",
    "HeadLike": "penult.wire.references",
    "Literal": "typing",
    "Mapping": "collections.abc",
    "Path": "pathlib",
    "Required": "typing",
    "ScalingLike": "penult.wire.references",
    "Sequence": "collections.abc",
    "Shown": "penult.display.html",
    "TypedDict": "typing",
    "dataclass": "dataclasses",
    "fields": "dataclasses",
}
"""Where the client has the names that its types are made of."""
CENTER_DOC = '"zero", "stored", "explicit", or the digest of a refit.'
START_DOC = '"zero", "random", "stored", "explicit", or the digest of a refit.'
SCALING_DOC = '"none", "rows", "all", or the digest of a feature set.'
BY_DOC = '"class", "group", or the digest of a grouping.'
SELECT = (
    ("on", "FeatureSetLike", "str", '"half", or a feature set.'),
    ("metric", "SelectMetric", "SelectMetric", ""),
    ("ties", "Ties", "Ties", ""),
    ("final", "SelectFinal", "SelectFinal", ""),
    ("repeats", "int", "int", ""),
    ("standardize", "ScalingLike", "str", SCALING_DOC),
    ("groups", "GroupingLike", 'str = ""', "The digest of a grouping; empty for the stored groups."),
)
"""Arguments of ``select=``, their types, those of their settings, and what to say of these."""
PATH_DOCS = {"steps": "0 when counted by epochs.", "epochs": "0 when counted by steps.", "start": START_DOC}
CARD = ("name", "tags", "note")
"""Arguments that say something of what is made, and decide nothing about it."""
WAITING = ("timeout", "progress")
"""Arguments that say how an answer is waited for."""
NOT_SETTINGS = ("evaluate", "train", "plan", *CARD, *WAITING)
"""Arguments of a refit that add to the answer without changing the head."""
ALWAYS_SAID = ("l1", "l2", "repeats")
"""Numbers that have an effect with every method."""

Fields = Iterable[tuple[str, str, str]]
"""Name, type and docstring of each field."""


def types_module() -> str:
    """The text of ``penult/types.py``."""
    lines = [f'"""The names that requests may use. {MADE}"""', "", "from typing import Literal", ""]
    for name, choices in CHOICES.items():
        lines += _literal(name, choices if isinstance(choices, tuple) else choices_of(choices))
    return "\n".join(lines) + "\n"


def arguments_module(signature: Mapping[str, str]) -> str:
    """The text of ``penult/wire/refit_arguments.py``."""
    arguments = {name: f"Required[{kind}]" if name == "features" else kind for name, kind in signature.items()}
    return module(
        f"The arguments of refits as dictionaries. {MADE}",
        typed_dict("PathArguments", "An early-stopped method; what is left out is the preset's.", path_arguments()),
        typed_dict(
            "SelectArguments",
            "How one candidate of a grid is chosen; what is left out is the preset's.",
            ((name, kind, "") for name, kind, _, _ in SELECT),
        ),
        typed_dict(
            "RefitArguments",
            "The arguments of `Client.refit`, as one request of `Client.refits`.",
            ((name, kind, "") for name, kind in arguments.items() if name not in WAITING),
        ),
    )


def settings_module(signature: Mapping[str, str]) -> str:
    """The text of ``penult/results/refit_settings.py``."""
    return module(
        f"What was fitted, with every preset filled in. {MADE}",
        record("PathSettings", "An early-stopped method: the fields are those of ``path=``.", path_settings()),
        record(
            "SelectSettings",
            "How a candidate was chosen: the fields are those of ``select=``.",
            ((name, kind, said) for name, _, kind, said in SELECT),
        ),
        record(
            "RefitSettings",
            "What was fitted, with every preset expanded; the fields are the arguments of `Client.refit`.\n\n    "
            "A number that was on a grid is the one that was chosen; one that goes with another method is None.\n    ",
            (_setting(name, kind) for name, kind in signature.items() if name not in NOT_SETTINGS),
        ),
    )


def path_arguments() -> Fields:
    """The fields of a path as users write them."""
    return [(field.name, _type_of(field, "HeadLike"), "") for field in pb.Path.DESCRIPTOR.fields]


def path_settings() -> Iterator[tuple[str, str, str]]:
    """The fields of a path as users read them."""
    for field in pb.Path.DESCRIPTOR.fields:
        may_be_none = " | None" if field.name in ("clip_norm", "batch_size") else ""
        yield field.name, _type_of(field, "str") + may_be_none, PATH_DOCS.get(field.name, "")


def _type_of(field: FieldDescriptor, head: str) -> str:
    if field.enum_type is not None:
        return next(
            name for name, enum in CHOICES.items() if not isinstance(enum, tuple) and enum.DESCRIPTOR is field.enum_type
        )
    if field.message_type is not None:
        return head
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "bool"
    return "float" if field.type == FieldDescriptor.TYPE_DOUBLE else "int"


def _setting(name: str, annotation: str) -> tuple[str, str, str]:
    """An argument of a refit as its answer says it."""
    kind = annotation.removesuffix(" | None")
    if kind in CHOICES and name != "preset":
        return name, kind, ""
    if kind in ("float", "int", "bool"):
        return name, kind if name in ALWAYS_SAID else annotation, ""
    if kind.endswith("Arguments"):
        return name, kind.replace("Arguments", "Settings") + " | None", ""
    if kind.startswith("Mapping[GridName"):
        return name, "Mapping[str, tuple[float, ...]]", ""
    said = {"preset": "Empty when none was named.", "standardize": SCALING_DOC, "center": CENTER_DOC, "by": BY_DOC}.get(
        name, ""
    )
    if name in ("weights", "rows"):
        said = ", ".join(f'"{choice}"' for choice in choices_of(_enum_of(name))) + ' or "explicit".'
    return {"features": "feature_set"}.get(name, name), "str", said


def _enum_of(argument: str) -> Enumeration[Any]:
    kinds = (enum for enum in CHOICES.values() if not isinstance(enum, tuple))
    return next(enum for enum in kinds if enum.DESCRIPTOR is ARGUMENTS[argument].field.enum_type)


def signature(file: str, method: str) -> dict[str, str]:
    """Types of the arguments of a method of the client, as they are written."""
    functions = [node for node in ast.walk(ast.parse((CLIENT / file).read_text())) if isinstance(node, ast.FunctionDef)]
    arguments = next(one.args for one in functions if one.name == method)
    named = [*arguments.args[1:], *arguments.kwonlyargs]
    return {one.arg: ast.unparse(one.annotation).replace("'", '"') for one in named if one.annotation is not None}


def typed_dict(name: str, doc: str, fields: Fields) -> list[str]:
    """The lines of a dictionary's type."""
    return [f"class {name}(TypedDict, total=False):", f'    """{doc}"""', "", *_fields(fields)]


def record(name: str, doc: str, fields: Fields) -> list[str]:
    """The lines of a frozen dataclass."""
    decorator = "@dataclass(frozen=True, slots=True, kw_only=True)"
    return [decorator, f"class {name}(Shown):", f'    """{doc}"""', "", *_fields(fields)]


def _fields(fields: Fields) -> Iterator[str]:
    for name, kind, said in fields:
        yield f"    {name}: {kind}"
        if said:
            yield f'    """{said}"""'


def module(doc: str, *classes: list[str]) -> str:
    """A module of some classes, with the imports of the names in them."""
    body = "".join("\n\n" + "\n".join(lines) + "\n" for lines in classes)
    code = re.sub(r'""".*?"""', "", body, flags=re.DOTALL)
    # As ruff sorts them: SGD, like a constant, before AdamW.
    found = {name for name in re.findall(r"\w+", code) if name in HOMES}
    used = sorted(found, key=lambda name: (not name.isupper(), name.lower(), name))
    imports: list[str] = []
    for block in (("collections.abc", "dataclasses", "pathlib", "typing"), ("numpy.typing",), ("penult",)):
        homes = sorted({HOMES[name] for name in used if HOMES[name].startswith(block)})
        lines = [line for home in homes for line in _import(home, [name for name in used if HOMES[name] == home])]
        imports += ["", *lines] if lines else []
    return f'"""{doc}"""\n' + "\n".join(imports) + "\n" + body


def _import(home: str, names: list[str]) -> list[str]:
    whole = f"from {home} import {', '.join(names)}"
    return [whole] if len(whole) <= LINE else [f"from {home} import (", *(f"    {name}," for name in names), ")"]


def _literal(name: str, choices: Iterable[str]) -> list[str]:
    """A choice as ruff formats it: on one line where it fits, else on a line inside, else a line for each name."""
    members = [f'"{choice}"' for choice in choices]
    whole, inside = f"{name} = Literal[{', '.join(members)}]", "    " + ", ".join(members)
    if len(whole) <= LINE:
        return [whole]
    return [f"{name} = Literal[", *([inside] if len(inside) <= LINE else [f"    {one}," for one in members]), "]"]


def generate_client(out: Path = CLIENT) -> None:
    """Write the client's generated modules into `out`, laid out as the client is."""
    arguments = signature("calls/refitting.py", "refit")
    write(out / "types.py", types_module())
    write(out / "wire" / "refit_arguments.py", arguments_module(arguments))
    write(out / "results" / "refit_settings.py", settings_module(arguments))


def write(path: Path, text: str) -> None:
    """Write a module, in a directory that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    generate_client()
