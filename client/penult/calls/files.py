"""Files of a model on this machine: chosen, hashed, and sent to a server in pieces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from penult.arguments.coerce import build
from penult.connection.rpc import Connection
from penult.errors import ServerBug, invalid, shown
from penult_proto.files import digest_of_file, digest_of_files, is_plain, model_files
from penult_proto.limits import CHUNK_BYTES, MOST_FILE_BYTES
from penult_proto.v1 import checkpoints_pb2


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine, and what its content is."""

    path: Path
    size: int
    sha256: str


def local_files(argument: str, place: str) -> list[LocalFile]:
    """The file, or the files of a directory's model, read once to be known by their content.

    Raises `InvalidRequest` for what is no model, or cannot be read.
    """
    try:
        source = Path(place).expanduser().absolute()
        files = [LocalFile(path, path.stat().st_size, digest_of_file(path)) for path in model_files(source)]
    except (OSError, RuntimeError, ValueError) as error:
        hint = "; a path of the server's machine is meant by on_server=True"
        raise invalid(f"{argument} {shown(place)} cannot be read: {error}{hint}", argument=argument) from None
    for file in files:
        if not file.size or not is_plain(file.path.name):
            raise invalid(f"{argument}: {shown(file.path.name)} is empty or not a plain name", argument=argument)
    total = sum(file.size for file in files)
    if total > MOST_FILE_BYTES:
        raise invalid(f"{argument} has {total} bytes; a server takes {MOST_FILE_BYTES} at most", argument=argument)
    return files


def digest_of(files: Sequence[LocalFile]) -> str:
    """What a server knows the files by."""
    return digest_of_files([(file.path.name, file.sha256) for file in files])


def send_files(connection: Connection, files: Sequence[LocalFile], *, timeout: float) -> None:
    """Send files, a piece at a time; returns once they lie on the server's disk, verified. Raises `PenultError`."""
    call = connection.stubs.checkpoints.UploadFiles
    answer = connection.upload(call, lambda: _messages(files), timeout=timeout)
    if answer.digest != digest_of(files):
        raise ServerBug(f"the server stored {answer.digest}, not the files that were sent")


def _messages(files: Sequence[LocalFile]) -> Iterator[checkpoints_pb2.UploadFilesRequest]:
    """The header, then the bytes of every file; one that has changed meanwhile is refused by the server."""
    headers = [
        build(checkpoints_pb2.FileHeader, name=file.path.name, size=file.size, sha256=file.sha256) for file in files
    ]
    yield checkpoints_pb2.UploadFilesRequest(header=checkpoints_pb2.UploadFilesHeader(files=headers))
    for file in files:
        try:
            with file.path.open("rb") as content:
                while piece := content.read(CHUNK_BYTES):
                    yield checkpoints_pb2.UploadFilesRequest(data=piece)
        except OSError:
            # The server then says which bytes are missing; an exception here would hide behind gRPC's.
            return
