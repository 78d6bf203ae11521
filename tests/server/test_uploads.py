"""Files that come for a job: whole and verified, or not there; removed when nobody needs them."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.files import is_plain, model_files
from penult_server.errors import ServiceError
from penult_server.stores.removal import remove_left
from penult_server.stores.uploads import ExpectedFile, IncomingFiles, remove_uploads, upload_directory

CONTENT = b"some bytes"
FILE = ExpectedFile("x.pt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def store(root: Path, *files: ExpectedFile) -> Path:
    with IncomingFiles(root, files or [FILE]) as incoming:
        incoming.write(CONTENT)
        incoming.finish()
    return upload_directory(root, incoming.digest)


def test_a_file_comes_in_pieces_of_any_size(tmp_path: Path) -> None:
    with IncomingFiles(tmp_path, [FILE]) as incoming:
        for byte in CONTENT:
            incoming.write(bytes([byte]))
        incoming.finish()
    place = upload_directory(tmp_path, FILE.sha256)
    assert [path.read_bytes() for path in place.iterdir()] == [CONTENT]
    assert store(tmp_path) == place  # again, and at once: the first is kept


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(2**40, 2**40 - 2**28, 2**28))
    with pytest.raises(ServiceError, match="10 bytes and the server's disk has 268435456 free") as caught:
        IncomingFiles(tmp_path, [FILE])
    assert caught.value.kind is ErrorKind.DISK_FULL
    assert list((tmp_path / "uploads").iterdir()) == []


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def come() -> None:
        with IncomingFiles(tmp_path, [FILE]) as incoming:
            incoming.write(CONTENT[:3])
            raise OSError(28, "no space left")

    with pytest.raises(OSError, match="no space"):
        come()
    assert list((tmp_path / "uploads").iterdir()) == []


def test_only_what_nobody_needs_is_removed(tmp_path: Path) -> None:
    one = store(tmp_path)
    other = one.with_name("f" * 64)
    other.mkdir()
    os.utime(other, (1, 1))
    remove_uploads(tmp_path, set(), older_than=60)
    assert (one.exists(), other.exists()) == (True, False)
    remove_uploads(tmp_path, {one.name})
    remove_uploads(tmp_path, set(), only="a" * 64)
    assert one.exists()
    remove_uploads(tmp_path, set(), only=one.name)
    assert not one.exists()
    remove_uploads(tmp_path / "nowhere", set())
    (tmp_path / "uploads" / ".staging-left").mkdir()
    remove_left(tmp_path / "uploads")
    assert list((tmp_path / "uploads").iterdir()) == []


def test_the_files_of_a_directory_that_make_its_model(tmp_path: Path) -> None:
    for name in (
        "config.json",
        "vocab.txt",
        "model.safetensors",
        "pytorch_model.bin",
        "optimizer.pt",
        ".x.json",
        "a.md",
    ):
        (tmp_path / name).write_text("{}")
    (tmp_path / "checkpoint-5").mkdir()
    assert [path.name for path in model_files(tmp_path)] == ["config.json", "model.safetensors", "vocab.txt"]
    (tmp_path / "model.safetensors").unlink()
    assert [path.name for path in model_files(tmp_path)] == ["config.json", "pytorch_model.bin", "vocab.txt"]
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match="holds no weights"):
        model_files(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config\.json"):
        model_files(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "a\\b", "/a", "a\n", "\u202ea", "x" * 256, "\ud800"])
def test_names_that_are_not_plain(name: str) -> None:
    assert not is_plain(name)
    assert is_plain("über model-1.safetensors")
