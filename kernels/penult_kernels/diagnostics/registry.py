"""Every diagnostic there is, a line each; ids and families are read off their definitions."""

from collections.abc import Iterable, Mapping

from penult_kernels.diagnostics.capacity import random_heads
from penult_kernels.diagnostics.collapse import class_means, duality, etf, pinv, traces, variability
from penult_kernels.diagnostics.cues import preference, reliance
from penult_kernels.diagnostics.definition import Definition, Diagnostic
from penult_kernels.diagnostics.dimension import intrinsic, spectral
from penult_kernels.diagnostics.geometry import classes, separation, sharpness, sphere
from penult_kernels.diagnostics.gradients import coherence, hessian
from penult_kernels.diagnostics.margins import largest, margins, normalised
from penult_kernels.diagnostics.probes import decodability, together
from penult_kernels.diagnostics.similarity import debiased, linear, minibatch

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    pinv.DIAGNOSTIC,
    variability.DIAGNOSTIC,
    etf.DIAGNOSTIC,
    duality.DIAGNOSTIC,
    class_means.DIAGNOSTIC,
    traces.DIAGNOSTIC,
    debiased.DIAGNOSTIC,
    linear.DIAGNOSTIC,
    minibatch.DIAGNOSTIC,
    spectral.DIAGNOSTIC,
    intrinsic.DIAGNOSTIC,
    sphere.DIAGNOSTIC,
    classes.DIAGNOSTIC,
    sharpness.DIAGNOSTIC,
    separation.DIAGNOSTIC,
    margins.DIAGNOSTIC,
    normalised.DIAGNOSTIC,
    largest.DIAGNOSTIC,
    coherence.DIAGNOSTIC,
    hessian.DIAGNOSTIC,
    decodability.DIAGNOSTIC,
    together.DIAGNOSTIC,
    reliance.DIAGNOSTIC,
    preference.DIAGNOSTIC,
    random_heads.DIAGNOSTIC,
)

DEFINITIONS: Mapping[str, Definition] = {one.id: one for diagnostic in DIAGNOSTICS for one in diagnostic}
FAMILIES: Mapping[str, tuple[str, ...]] = {
    family: tuple(one.id for one in DEFINITIONS.values() if one.family == family)
    for family in dict.fromkeys(one.family for one in DEFINITIONS.values())
}


class UnknownDiagnosticError(ValueError):
    """An id that neither a diagnostic nor a family has; `id` is it."""

    def __init__(self, unknown: str) -> None:
        families = "; ".join(f"{family!r} ({', '.join(ids)})" for family, ids in FAMILIES.items())
        super().__init__(f"there is no diagnostic {unknown!r}; there are, by family: {families}")
        self.id = unknown


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Ids in the order of the registry, each once, families replaced by theirs. Raises UnknownDiagnosticError."""
    wanted: set[str] = set()
    for name in names:
        if name in FAMILIES:
            wanted.update(FAMILIES[name])
        elif name in DEFINITIONS:
            wanted.add(name)
        else:
            raise UnknownDiagnosticError(name)
    return tuple(id for id in DEFINITIONS if id in wanted)
