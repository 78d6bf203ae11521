"""From the messages of diagnostics to records."""

from collections.abc import Iterable

from penult.results.diagnosis.definitions import DiagnosticDefinition
from penult.results.diagnosis.diagnosis import ALL, Diagnosis, DiagnosticValue
from penult.results.records import Group
from penult.wire.decode import decode_notes, groups, record, used_grouping
from penult_proto.enums import name_or
from penult_proto.v1 import diagnostics_pb2 as pb
from penult_proto.v1 import spectra_pb2


def definitions(messages: Iterable[pb.DiagnosticDefinition]) -> list[DiagnosticDefinition]:
    """Definitions in their order."""
    return [record(DiagnosticDefinition, one, call=one.call or "diagnose") for one in messages]


def diagnosis(message: pb.Diagnosis) -> Diagnosis:
    """Values with the names of their parts."""
    parts, grouping = groups(message.groups), used_grouping(message)
    return record(
        Diagnosis,
        message,
        by=grouping.attribute if grouping else name_or(spectra_pb2.SpectraBy, message.by, "group"),
        groups=parts,
        definitions={one.id: one for one in definitions(message.definitions)},
        values=tuple(_value(one, parts) for one in message.values),
        numbers=dict(message.numbers),
        grouping=grouping,
        notes=decode_notes(message.notes),
    )


def _value(message: pb.DiagnosticValue, parts: tuple[Group, ...]) -> DiagnosticValue:
    names = [parts[index].name if index < len(parts) else ALL for index in message.parts]
    return record(
        DiagnosticValue,
        message,
        part=", ".join([*([message.column] if message.column else []), *([" / ".join(names)] if names else [])]) or ALL,
        indices=tuple(message.parts),
    )
