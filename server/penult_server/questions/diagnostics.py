"""Definitions of diagnostics as messages, for the front that lists them and the worker that computes them."""

from collections.abc import Iterable

from penult_kernels.diagnostics.definition import Definition
from penult_kernels.panels.panel import Panel
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


def panel_definitions_to_proto(panels: Iterable[Panel]) -> list[pb.DiagnosticDefinition]:
    """Numbers of panels, which `Evaluate` answers."""
    return [
        pb.DiagnosticDefinition(
            id=one.id,
            family=panel.name,
            formula=one.formula,
            source=one.source,
            direction=one.direction,
            needs=["labels", "logits"],
            parts="part",
            interval="none",
            cost="n K",
            call="evaluate",
        )
        for panel in panels
        for one in panel.definitions
    ]
