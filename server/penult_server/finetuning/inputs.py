"""What a model that is imported reads, and what its classes are called: checked, whoever says it."""

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_LABELS
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.backbones.catalog import INTERPOLATIONS
from penult_server.errors import ServiceError
from penult_server.finetuning.config import MAX_SIDE, MAX_TOKENS


def invalid(field: str, expected: str, got: object) -> ServiceError:
    """The refusal of an argument of an import, by the name that it has there; those of a finetuning have others."""
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT, f"{field} must be {expected}; got {got!r}", field=field, argument=field, got=got
    )


def check_classes(spec: pb.ImportCheckpointSpec) -> None:
    """The names of the classes, where there are any. Raises ServiceError (INVALID_ARGUMENT)."""
    classes = list(spec.classes)
    if classes and (len(classes) < 2 or len(set(classes)) < len(classes) or "" in classes):
        raise invalid("classes", "at least two names that differ, in the order of the head's rows", str(classes[:20]))
    if len(classes) > MOST_LABELS:
        raise invalid("classes", f"at most {MOST_LABELS} names", f"{len(classes)}")


def check_inputs(spec: pb.ImportCheckpointSpec) -> None:
    """What the model reads, as far as it is given. Raises ServiceError (INVALID_ARGUMENT)."""
    _check_whole("image_size", spec.image_size, 0, MAX_SIDE)
    _check_whole("image_resize", spec.image_resize, 0, MAX_SIDE)
    if 0 < spec.image_resize < spec.image_size:
        raise invalid("image_resize", f"0 or at least image_size, which is {spec.image_size}", spec.image_resize)
    for name, values in (("image_mean", list(spec.image_mean)), ("image_std", list(spec.image_std))):
        least = 0.0 if name == "image_mean" else 1e-6
        if values and (len(values) != 3 or not all(least <= value <= 1e3 for value in values)):
            raise invalid(
                name, f"three numbers of {least:g} .. 1000, of red, green and blue in 0 .. 1", str(values[:9])
            )
    if spec.interpolation and spec.interpolation not in INTERPOLATIONS:
        raise invalid("interpolation", f"one of {', '.join(INTERPOLATIONS)}", spec.interpolation[:80])
    if spec.HasField("max_tokens"):
        _check_whole("max_tokens", spec.max_tokens, 1, MAX_TOKENS)


def _check_whole(field: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise invalid(field, f"in {lowest} .. {highest}", value)
