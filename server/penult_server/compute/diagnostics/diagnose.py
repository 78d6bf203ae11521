"""Diagnostics of a stored set, by the planner of the kernels."""

from penult_kernels.diagnostics.definition import Need, Size, Value
from penult_kernels.diagnostics.planner import DRAWS, Settings, draws_of, memory
from penult_kernels.diagnostics.planner import diagnose as diagnose_rows
from penult_kernels.diagnostics.registry import DEFINITIONS
from penult_kernels.diagnostics.subject import Subject
from penult_proto.v1 import diagnostics_pb2 as pb
from penult_server.compute.diagnostics.subjects import asked_of
from penult_server.compute.memory import available_bytes, require
from penult_server.compute.spectra.parts import Resources
from penult_server.notes import notes_to_proto
from penult_server.questions.diagnostics import definitions_to_proto

HOW = {
    Need.HEAD: "a head of these features: extract them from a checkpoint, or upload them with head=...",
    Need.LOGITS: "logits: extract the features from a checkpoint, or upload them with logits=... or head=...",
    Need.MEMORY: "features that fit into memory: ask for fewer rows (rows=...), or start the server with a larger "
    "--resident-bytes",
}
"""How to come by what is needed, where a set may be without it."""


def diagnose(request: pb.DiagnoseRequest, resources: Resources) -> pb.Diagnosis:
    """Every value of every id. Every field of the request is set by now.

    Raises ServiceError: EMPTY_GROUP, OTHER_ROWS, OUT_OF_MEMORY, and what reading and neighbours raise.
    """
    asked = asked_of(request, resources)
    subject = asked.subject
    settings = Settings(
        replicates=request.replicates,
        matched=DRAWS if request.matched else 0,
        seed=request.seed,
        numbers=dict(request.numbers),
    )
    draws = draws_of(subject, settings)
    n, d = subject.rows.shape
    size = Size(
        n=n,
        d=d,
        k=subject.n_classes,
        parts=max(subject.n_parts, subject.cells[1].size),
        draws=draws.count,
        smallest=subject.smallest,
        d_other=0 if subject.other is None else subject.other.shape[1],
    )
    needed = int(memory(request.ids, size))
    require(needed, available_bytes(resources.backend), "ask for fewer ids or replicates, matched=False, or by='all'")
    values = diagnose_rows(
        subject,
        request.ids,
        settings,
        check=resources.check,
        report=resources.progress.stage("diagnostics", "rows"),
    )
    return pb.Diagnosis(
        feature_set=request.source.feature_set,
        other=request.other.feature_set,
        by=request.by,
        groups=asked.groups,
        definitions=definitions_to_proto(DEFINITIONS[id] for id in request.ids),
        values=[_to_proto(value, subject) for value in values],
        numbers=request.numbers,
        replicates=draws.replicates,
        matched_draws=draws.matched,
        matched_n=subject.smallest if request.matched else 0,
        seed=request.seed,
        n_rows=n,
        grouping=asked.used_grouping,
        notes=notes_to_proto(asked.notes),
    )


def _to_proto(value: Value, subject: Subject) -> pb.DiagnosticValue:
    missing = DEFINITIONS[value.id].needs - subject.has
    note = "needs " + "; ".join(HOW.get(one, one.value) for one in sorted(missing)) if missing else value.note
    return pb.DiagnosticValue(
        id=value.id,
        parts=value.parts,
        column=value.column,
        value=value.value,
        low=value.low,
        high=value.high,
        n=value.n,
        matched_value=value.matched_value,
        matched_low=value.matched_low,
        matched_high=value.matched_high,
        null=value.null,
        note=note,
    )
