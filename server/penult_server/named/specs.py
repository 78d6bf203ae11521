"""The paths in a request for a job."""

from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.named.opening import IrregularError
from penult_server.named.roots import READING


def named_paths(spec: pb.JobSpec) -> dict[str, str]:
    """The absolute paths that a request names, by the names of its fields."""
    match spec.WhichOneof("kind"):
        case "finetune":
            said = {"weights": spec.finetune.weights, "backbone": spec.finetune.backbone}
        case "import_checkpoint":
            said = {"path": spec.import_checkpoint.path, "backbone": spec.import_checkpoint.backbone}
        case "register_dataset":
            said = {"table": spec.register_dataset.table}
        case _:
            said = {}
    # What is relative names a model of a library, or is refused as no path.
    return {field: path for field, path in said.items() if Path(path).is_absolute()}


def check_named(spec: pb.JobSpec) -> None:
    """Check that a request names nothing that may not be read here and now; models with all their files.

    Whether there is anything is not told for what may not be named, and left to the reader of what may.
    Raises ServiceError: NOT_ALLOWED, INVALID_ARGUMENT, TOO_LARGE.
    """
    roots = READING.get().roots
    for field, path in named_paths(spec).items():
        found = roots.resolved(path)
        if field not in ("path", "backbone") or not found.is_dir():
            continue
        try:
            roots.check_folder(path)
        except IrregularError as error:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, f"the model {path[:200]!r} cannot be read: {error.strerror}", field=field
            ) from error
        except OSError as error:
            raise ServiceError(
                ErrorKind.FILES_MISSING, f"the model {path[:200]!r} cannot be read: {error.strerror}", field=field
            ) from error
