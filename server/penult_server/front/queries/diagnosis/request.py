"""Requests for diagnostics: families expanded, defaults filled in, and what cannot be answered refused."""

import math
from collections.abc import Sequence
from difflib import get_close_matches

from penult_kernels.diagnostics.definition import Definition, Need, Size
from penult_kernels.diagnostics.planner import DRAWS, work
from penult_kernels.diagnostics.registry import DEFINITIONS, FAMILIES, UnknownDiagnosticError, expand
from penult_kernels.diagnostics.shared.context import DEFAULTS
from penult_kernels.panels.registry import PANELS
from penult_proto.errors import ErrorKind
from penult_proto.v1 import diagnostics_pb2 as pb
from penult_proto.v1 import features_pb2, spectra_pb2
from penult_server.errors import ServiceError

MOST_REPLICATES = 2_000
MULTIPLICATIONS_A_SECOND = 2e10
"""What two cores do in float64, about: what an estimate is made with."""
MOST_SECONDS = 1800.0
"""An estimate above this is refused."""


def fill_in(
    request: pb.DiagnoseRequest, source: features_pb2.FeatureSet, other: features_pb2.FeatureSet | None
) -> None:
    """In place. Raises ServiceError (INVALID_ARGUMENT)."""
    asked = _expanded(request.ids)
    del request.ids[:]
    request.ids.extend(one.id for one in asked)
    request.by = request.by or spectra_pb2.SPECTRA_BY_GROUP
    if request.by not in spectra_pb2.SpectraBy.values():
        raise _refused("by", f"must be 'group', 'class' or 'all'; got number {request.by}")
    if request.source.grouping and request.by != spectra_pb2.SPECTRA_BY_GROUP:
        raise _refused("by", "names a grouping, which makes groups: ask by group, or leave the grouping out")
    _check_other(asked, other)
    _fill_in_numbers(request, asked)
    request.replicates = request.replicates if request.HasField("replicates") else DRAWS
    request.matched = request.matched if request.HasField("matched") else True
    if not 0 <= request.replicates <= MOST_REPLICATES:
        raise _refused("replicates", f"must be 0 (none) .. {MOST_REPLICATES}, got {request.replicates}")
    _check_cost(request, source, other)


def _expanded(ids: Sequence[str]) -> list[Definition]:
    if not ids:
        raise _refused("ids", "must name a diagnostic or a family; client.diagnostics() lists them")
    try:
        return [DEFINITIONS[id] for id in expand(ids)]
    except UnknownDiagnosticError as error:
        text = f"ids: {_nearest(error.id)}{error}"
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, text, field="ids") from error


def _nearest(unknown: str) -> str:
    """What else the id may mean: a number of a panel, or a diagnostic that is written nearly so."""
    for name, panel in PANELS.items():
        if unknown == name or unknown in {one.id for one in panel.definitions}:
            return f"client.evaluate(head, features, panels=[{name!r}]) answers {unknown!r}; "
    near = get_close_matches(unknown, [*DEFINITIONS, *FAMILIES], n=1)
    return f"do you mean {near[0]!r}? " if near else ""


def _check_other(asked: list[Definition], other: features_pb2.FeatureSet | None) -> None:
    comparing = [one.id for one in asked if Need.OTHER in one.needs]
    if other is None and comparing:
        raise _refused("other", f"is a second set, which {', '.join(comparing)} compares the features with; give it")
    if other is not None and not comparing:
        raise _refused("other", f"has no effect on {', '.join(one.id for one in asked)}; leave it out")


def _fill_in_numbers(request: pb.DiagnoseRequest, asked: list[Definition]) -> None:
    used = {name for one in asked for name in one.numbers}
    for name, value in request.numbers.items():
        if name not in used:
            known = f"those of these ids are {', '.join(sorted(used))}" if used else "these ids have none"
            raise _refused("numbers", f"has {name!r}, which has no effect: {known}")
        if not (math.isfinite(value) and value > 0):
            raise _refused("numbers", f"{name!r} must be a positive finite number, got {value}")
    for name in sorted(used - set(request.numbers)):
        request.numbers[name] = DEFAULTS[name]
    first, last = (request.numbers.get(f"power_law_{end}", default) for end, default in (("first", 1), ("last", 2)))
    if not 1 <= int(first) < int(last):
        raise _refused(
            "numbers", f"power_law_first must be below power_law_last, from 1 on; got {first:g} and {last:g}"
        )


def _check_cost(
    request: pb.DiagnoseRequest, source: features_pb2.FeatureSet, other: features_pb2.FeatureSet | None
) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for what would take longer than anybody waits."""
    counts = parts_of(request.by, source)
    size = Size(
        n=source.n_examples,
        d=source.n_features,
        k=len(source.labels.classes),
        parts=len(counts),
        draws=1 + request.replicates + (DRAWS if request.matched else 0),
        smallest=min((count for count in counts if count), default=0),
        d_other=0 if other is None else other.n_features,
    )
    seconds = work(request.ids, size) / MULTIPLICATIONS_A_SECOND
    if seconds > MOST_SECONDS:
        raise _refused(
            "ids",
            f"would take about {seconds:,.0f} s of two cores ({size.n:,} rows, {size.d:,} features, {size.parts} "
            f"parts); at most {MOST_SECONDS:,.0f} s are spent: ask for fewer ids, replicates=0, matched=False, or "
            "fewer rows (rows=...)",
        )


def parts_of(by: "spectra_pb2.SpectraBy.ValueType", source: features_pb2.FeatureSet) -> list[int]:
    """Rows of each part of a set."""
    if by == spectra_pb2.SPECTRA_BY_ALL:
        return [source.n_examples]
    if by == spectra_pb2.SPECTRA_BY_GROUP:
        return [one.count for one in source.groups]
    counts = [0] * len(source.labels.classes)
    for one in source.groups:
        counts[one.y] += one.count
    return counts


def _refused(argument: str, why: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{argument} {why}", field=argument)
