"""Panels of an evaluation: known ones, each once, with calibration rows where one needs them."""

from penult_kernels.panels.registry import PANELS
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2
from penult_server.errors import ServiceError


def check_panels(request: refits_pb2.EvaluateRequest) -> None:
    """In place, panels in the order of the registry. Raises ServiceError (INVALID_ARGUMENT)."""
    wanted = set(request.panels)
    if unknown := sorted(wanted - set(PANELS)):
        raise _refused("panels", f"are {', '.join(PANELS)}; got {', '.join(map(repr, unknown))}")
    needing = [name for name in PANELS if name in wanted and PANELS[name].needs_calibration]
    if needing and not request.calibration:
        raise _refused(
            "calibration",
            f"is a feature set with other rows, such as the validation split, on which {' and '.join(needing)} find "
            "thresholds; give it",
        )
    if request.calibration and not needing:
        raise _refused("calibration", "has no effect without panels=['conformal'] or ['threshold']; leave it out")
    if needing and request.grouping:
        raise _refused(
            "calibration", "rows are not in the groups of a grouping: score stored groups, or leave these panels out"
        )
    del request.panels[:]
    request.panels.extend(name for name in PANELS if name in wanted)


def _refused(argument: str, why: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{argument} {why}", field=argument)
