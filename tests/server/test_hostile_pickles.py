"""Files of PyTorch that were made to do harm, and files that are damaged: nothing of them runs, grows or hangs."""

import encodings.cp437  # noqa: F401  zipfile looks names up in it, at first by an import that would be watched
import io
import os
import pickle
import random
import re
import struct
import sys
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from penult_proto.errors import ErrorKind
from penult_server.backbones.files.pickles import Foreign, PickleReader, UnreadableError
from penult_server.backbones.files.pytorch import MOST_DIRECTORY
from penult_server.backbones.files.tensors import MOST_TENSORS, read_tensors
from penult_server.errors import ServiceError

FORBIDDEN = (
    "exec",
    "compile",
    "import",
    "os.",
    "subprocess",
    "socket",
    "ctypes",
    "pickle",
    "marshal",
    "code",
    "shutil",
)
BOUND = 64 * 2**20
"""Bytes of memory that reading a small file may take."""

_watched: list[list[tuple[str, str]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and (event.startswith(FORBIDDEN) or event == "open"):
        _watched[-1].append((event, str(arguments)[:200]))


sys.addaudithook(_hook)


@contextmanager
def watched(*opened: Path) -> Iterator[None]:
    """Nothing is run, imported or opened in the block, but for files that may be read."""
    events: list[tuple[str, str]] = []
    _watched.append(events)
    try:
        yield
    finally:
        _watched.pop()
    # A file is opened from folder to folder, then by its descriptor.
    names = {part for path in opened for part in (str(path), *path.parts)}
    allowed = re.compile("|".join([*(re.escape(repr(name)) for name in names), r"\(\d+,", "'/proc/self/fd/"]))
    found = [one for one in events if not (one[0] == "open" and opened and allowed.search(one[1]))]
    assert not found, found


def read(content: bytes) -> Any:
    return PickleReader().read(io.BytesIO(content))


def state() -> OrderedDict[str, torch.Tensor]:
    return OrderedDict(weight=torch.arange(6.0).view(2, 3), bias=torch.ones(2), n=torch.tensor(3))


def pickle_of(content: object) -> bytes:
    """The pickle within a file of torch.save."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return archive.read(name)


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def nested(depth: int) -> bytes:
    """A tuple within a tuple within a tuple, as the key of a dictionary."""
    return b"}" + b")" + b"\x85" * depth + b"K\x01s."


def doubling(times: int) -> bytes:
    """(t, t) of (t, t), again and again: hashing it would take 2^times steps."""
    body = b")q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(times))
    return b"}" + body + b"K\x01s."


def tensor_of(storage: bytes, size: bytes, stride: bytes) -> bytes:
    """A call of the tensor constructor on a float storage of 4 values."""
    named = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + storage + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + named + b"K\x00" + size + stride + b"\x89}tR."


HOSTILE = {
    "os.system": b"cos\nsystem\n(S'touch /tmp/penult-was-here'\ntR.",
    "eval": pickle.dumps(Calls(eval, "__import__('os').abort()"), protocol=2),
    "exec by stack": pickle.dumps(Calls(exec, "raise SystemExit"), protocol=4),
    "attribute of a call": pickle.dumps(Calls(getattr, Calls(__import__, "os"), "abort"), protocol=2),
    "instance": b"(S'x'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'x'\no.",
    "new object": pickle.dumps(Calls(OrderedDict), protocol=2).replace(b"collections\nOrderedDict", b"os\nPathLike"),
    "state of a tensor": tensor_of(b"K\x04", b"K\x02\x85", b"K\x01\x85")[:-1] + b"(K\x01K\x02tb.",
    "state of an object": b"cbuiltins\nobject\n)\x81}(X\x08\x00\x00\x00__dict__}ub.",
    "extension": b"\x82\x01.",
    "out of band": b"\x97.",
    "id by text": b"Pos.system\n.",
    "constructor of another's": b"ctorch._utils\n_rebuild_parameter\ncos\nsystem\nR.",
    "constructor of itself": b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00(h\x00cos\nsystem\n)tR.",
    "ordered pairs": b"ccollections\nOrderedDict\n](](K\x01K\x02eea\x85R.",
    "jit": b"ctorch.jit._script\nunpackage_script_module\n(K\x01tR.",
    "load from bytes": b"ctorch.storage\n_load_from_bytes\n(C\x03abctR.",
}
BOMBS = {
    "memo far away": b"K\x01r\xff\xff\xff\xff.",
    "memo by text": b"K\x01p99999999999999999999\n.",
    "bytes": b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "bytearray": b"\x96" + struct.pack("<Q", 2**40) + b"x.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "number": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
    "decimals": b"L" + b"9" * 200_000 + b"L\n.",
    "nested key": nested(100_000),
    "doubling key": doubling(60),
    "huge tensor": tensor_of(b"K\x04", b"\x8a\x06" + (10**13).to_bytes(6, "little") + b"\x85", b"K\x00\x85"),
    "many sides": tensor_of(b"K\x04", b"(" + b"K\x01" * 1000 + b"t", b"(" + b"K\x01" * 1000 + b"t"),
    "behind its storage": tensor_of(b"K\x04", b"K\x02\x85", b"K\x09\x85"),
    "negative": tensor_of(b"K\x04", b"J\xfe\xff\xff\xff\x85", b"K\x01\x85"),
    "endless": b"}" * 2_100_000,
}


@pytest.mark.parametrize("kind", [*HOSTILE, *BOMBS])
def test_a_hostile_pickle_does_nothing(kind: str) -> None:
    content = (HOSTILE | BOMBS)[kind]
    if kind != "endless":  # which is long, and takes about 150 MB
        tracemalloc.start()
    started = time.monotonic()
    try:
        with watched():
            value = read(content)
    except UnreadableError:
        value = None
    finally:
        peak = tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0
        tracemalloc.stop()
    assert (
        value is None
        or isinstance(value, Foreign | dict | int | bytes | tuple)
        or type(value).__name__ == "StoredTensor"
    )
    assert peak < BOUND
    assert time.monotonic() - started < 60
    assert not Path("/tmp/penult-was-here").exists()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut, doubled, or replaced by parts of hostile pickles."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0:
                out[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del out[place : place + rng.randint(1, 9)]
            case 2:
                out[place:place] = out[place : place + rng.randint(1, 40)]
            case 3:
                out[place:place] = rng.choice(list(HOSTILE.values()))[:-1]
            case 4:
                out[place:place] = bytes([rng.choice(b"()]}.0123456789RbcitoqrhjuesaQ\x81\x85\x86\x87\x93\x94")])
            case _:
                out[place:place] = struct.pack("<I", rng.randrange(2**32))
    return bytes(out)


def fuzz_pickles(count: int, seed: int) -> None:
    rng = random.Random(seed)
    seeds = [
        pickle_of(state()),
        pickle_of({"state_dict": state(), "args": Calls(print, "x"), "lr": 0.1}),
        *HOSTILE.values(),
    ]
    for _ in range(count):
        content = mutated(rng.choice(seeds), rng)
        with watched(), suppress(UnreadableError):
            read(content)


def refusal_of(path: Path) -> ErrorKind | None:
    try:
        read_tensors(path, "ignore")
    except ServiceError as error:
        return error.kind
    return None


def fuzz_files(count: int, seed: int, path: Path) -> None:
    """Whole files of both formats and of safetensors, their archives and headers changed, too."""
    rng = random.Random(seed)
    seeds: list[bytes] = []
    for save in (
        lambda: torch.save(state(), path),
        lambda: torch.save({"state_dict": state(), "x": Calls(print, "x")}, path),
        lambda: torch.save(state(), path, _use_new_zipfile_serialization=False),
        lambda: save_file(dict(state()), path),
    ):
        save()
        seeds.append(path.read_bytes())
        read_tensors(path, "ignore")  # imports what it needs
    for _ in range(count):
        path.write_bytes(mutated(rng.choice(seeds), rng))
        with watched(path):
            kind = refusal_of(path)
        assert kind in (None, ErrorKind.WEIGHTS_UNAVAILABLE)


def test_two_thousand_mutated_pickles_run_nothing() -> None:
    fuzz_pickles(2000, seed=0)


def test_mutated_files_run_nothing(tmp_path: Path) -> None:
    fuzz_files(300, seed=0, path=tmp_path / "weights")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_mutated_pickles_and_files_run_nothing(tmp_path: Path) -> None:
    fuzz_pickles(50_000, seed=1)
    fuzz_files(10_000, seed=1, path=tmp_path / "weights")


def test_the_watch_sees_what_it_forbids() -> None:
    for act in (
        lambda: exec("1"),
        lambda: os.system("true"),
        lambda: pickle.loads(HOSTILE["eval"][:0] or b"cos\nsep\n."),
    ):
        with pytest.raises(AssertionError), watched():
            act()


def rewritten(source: Path, target: Path, *, compressed: bool = False, **more: bytes) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].split("/")[0]
        for name in old.namelist():
            kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            new.writestr(zipfile.ZipInfo(name), more.pop(name.removeprefix(f"{root}/"), old.read(name)), kind)
        for name, content in more.items():
            new.writestr(f"{root}/{name}", content)


def refused(path: Path, said: str) -> None:
    with pytest.raises(ServiceError, match=said) as caught:
        read_tensors(path, "ignore")
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


def test_archives_that_are_not_what_torch_writes(tmp_path: Path) -> None:
    good, path = tmp_path / "good.pt", tmp_path / "x.pt"
    torch.save(state(), good)
    rewritten(good, path)
    assert set(read_tensors(path).tensors) == set(state())
    rewritten(good, path, compressed=True, **{"data/0": bytes(10**8)})
    assert path.stat().st_size < 10**6
    refused(path, "compressed members")
    rewritten(good, path, byteorder=b"big")
    refused(path, "big-endian")
    rewritten(good, path, **{"constants.pkl": b"N."})
    refused(path, "TorchScript")
    rewritten(good, path, **{"data/0": b"123"})
    refused(path, "6 values of storage '0' are not in it")
    path.write_bytes(good.read_bytes()[:-30])
    refused(path, "cut short")
    path.write_bytes(b"")
    refused(path, "it is empty")
    path.write_bytes(b"PK\x03\x04")
    refused(path, "cut short")
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, MOST_DIRECTORY + 1, 0, 0)
    path.write_bytes(b"PK\x03\x04" + end)
    refused(path, "a list of members of")
    torch.save(state(), good, _use_new_zipfile_serialization=False)
    path.write_bytes(good.read_bytes()[:-5])
    refused(path, "cut short")


def test_a_million_names_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    one = torch.ones(1)
    torch.save({f"t{index}": one for index in range(MOST_TENSORS + 1)}, path)
    refused(path, f"it holds {MOST_TENSORS + 1} tensors|instructions")
    torch.save({str(index): None for index in range(300_000)}, path)
    refused(path, "no tensors by their names|instructions|bytes")
