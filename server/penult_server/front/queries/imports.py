"""Requests to import a model: checked, completed, and known by what their files hold."""

from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.files import ABOUT, digest_of_files, is_plain, model_files
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1 import runs_pb2
from penult_server.backbones.catalog import file_digest, is_model_directory, library_of, weights_identity
from penult_server.errors import ServiceError
from penult_server.finetuning.inputs import check_classes, check_inputs, invalid
from penult_server.stores.uploads import has_upload, upload_directory


def complete_import(spec: pb.ImportCheckpointSpec) -> None:
    """Check a request by itself and fill in what it leaves out. Reads the files of a path in full.

    Raises ServiceError: INVALID_ARGUMENT, UNKNOWN_BACKBONE, FILES_MISSING.
    """
    if bool(spec.path) == bool(spec.content):
        raise invalid("content", "a digest of uploaded files, or path a place on the server's machine", "both or none")
    if spec.path:
        spec.content = digest_of_path(spec.path)
        spec.name = spec.name or Path(spec.path).name
    upload_directory(Path(), spec.content)
    if not is_plain(spec.name):
        raise invalid("name", "the name of the file or directory, without its directories", spec.name[:80])
    if spec.backbone:
        library_of(spec.backbone)
    elif spec.path and not is_model_directory(spec.path) and not (Path(spec.path) / ABOUT).is_file():
        raise invalid("backbone", f"a timm model such as 'resnet50', or one of transformers, for {spec.name!r}", "none")
    _complete_head(spec)
    spec.foreign_objects = spec.foreign_objects or pb.FOREIGN_OBJECTS_REFUSE
    check_inputs(spec)
    if spec.attribute and not spec.dataset:
        raise invalid("attribute", "left out without dataset=, whose attribute it is", spec.attribute)


def _complete_head(spec: pb.ImportCheckpointSpec) -> None:
    check_classes(spec)
    spec.head = spec.head or runs_pb2.HEAD_NAME_KEEP
    if spec.head == runs_pb2.HEAD_NAME_NEW:
        if not spec.classes and not spec.dataset:
            raise invalid("head", "'keep', or given with classes=[...] or dataset=, which a new one is for", "'new'")
        spec.seed = spec.seed
    elif spec.HasField("seed"):
        raise invalid("seed", "left out with head='keep', which draws nothing", spec.seed)


def digest_of_path(path: str) -> str:
    """sha256 (hex) over the files of a model on this machine. Raises ServiceError: INVALID_ARGUMENT, FILES_MISSING."""
    if not Path(path).is_absolute():
        raise invalid("path", "an absolute path on the server's machine", path[:200])
    try:
        files = model_files(Path(path))
        return digest_of_files([(file.name, file_digest(file)) for file in files])
    except (OSError, ValueError) as error:
        raise ServiceError(
            ErrorKind.FILES_MISSING,
            f"no model can be read from {path[:200]!r} on the server's machine: {error}",
            field="path",
        ) from error


def import_identity(spec: pb.ImportCheckpointSpec) -> str:
    """What an import reads that its request does not say: the files of a path as they are now, and the architecture's.

    Raises ServiceError as `digest_of_path` and `library_of` do.
    """
    content = digest_of_path(spec.path) if spec.path else spec.content
    architecture = weights_identity(spec.backbone, False) if spec.backbone else ""
    return f"{content} {architecture}"


def check_uploaded(root: Path, spec: pb.JobSpec) -> None:
    """Raise ServiceError (FILES_MISSING) for an import whose files have not come yet; its client sends them then."""
    wanted = spec.import_checkpoint
    if spec.HasField("import_checkpoint") and not wanted.path and not has_upload(root, wanted.content):
        raise ServiceError(
            ErrorKind.FILES_MISSING,
            f"the files of {wanted.name!r} are not on the server: send them with UploadFiles, then ask again",
            upload=wanted.content,
        )
