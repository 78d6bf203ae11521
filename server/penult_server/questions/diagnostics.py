"""Definitions of diagnostics as messages, for the front that lists them and the worker that computes them."""

from collections.abc import Iterable

from penult_kernels.diagnostics.definition import Definition
from penult_proto.v1 import diagnostics_pb2 as pb


def definitions_to_proto(definitions: Iterable[Definition]) -> list[pb.DiagnosticDefinition]:
    """Definitions as answers have them."""
    return [
        pb.DiagnosticDefinition(
            id=one.id,
            family=one.family,
            formula=one.formula,
            source=one.source,
            direction=one.direction.value,
            needs=sorted(need.value for need in one.needs),
            parts=one.parts,
            interval=one.interval.value,
            matched=one.matched,
            cost=one.cost,
            numbers=one.numbers,
        )
        for one in definitions
    ]
