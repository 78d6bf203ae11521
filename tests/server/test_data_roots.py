"""Files that clients name: what may be named, that nothing else is opened, and that nothing of it is said."""

import os
import re
import socket
import struct
import sys
import threading
import zlib
from pathlib import Path

import pytest

from penult_proto.errors import ErrorKind
from penult_server.datasets.layouts.reading import LAYOUTS, TABLE
from penult_server.datasets.registration import Request, register
from penult_server.datasets.tables import table as tables
from penult_server.errors import ServiceError
from penult_server.named.opening import IrregularError, open_below, open_regular
from penult_server.named.roots import DataRoots, read_named, reading

SECRET = "TOPSECRET,password=hunter2\nsecond,SECRET2\n"
MOST = 2**20


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A data root with the store in it, and secrets beside it."""
    for folder in ("data/store", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/t.csv").write_text("inside")
    (tmp_path / "data/store/token").write_text(SECRET)
    (tmp_path / "outside/secret.csv").write_text(SECRET)
    (tmp_path / "data/link.csv").symlink_to(tmp_path / "outside/secret.csv")
    (tmp_path / "data/nowhere.csv").symlink_to(tmp_path / "outside/absent.csv")
    (tmp_path / "data/up").symlink_to(tmp_path / "outside")
    (tmp_path / "data/to-store").symlink_to(tmp_path / "data/store")
    (tmp_path / "data/within.csv").symlink_to("t.csv")
    return tmp_path


@pytest.fixture
def roots(place: Path) -> DataRoots:
    return DataRoots(roots=(place / "data",), store=place / "data/store")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The places of all files that are opened by descriptor, as the system says them."""
    found: set[str] = set()
    original = os.open

    def recorded(*args, **kwargs) -> int:
        descriptor = original(*args, **kwargs)
        found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        return descriptor

    monkeypatch.setattr(os, "open", recorded)
    return found


def test_what_lies_below_is_read(place: Path, roots: DataRoots):
    for name in ("t.csv", "within.csv", "./t.csv"):
        with roots.open(place / "data" / name, MOST) as file:
            assert file.read() == b"inside"
    # The directory that was named may be a link itself.
    (place / "by-link").symlink_to(place / "data")
    linked = DataRoots(roots=(place / "by-link",))
    for name in ("by-link/t.csv", "data/t.csv"):
        with linked.open(place / name, MOST) as file:
            assert file.read() == b"inside"


OUTSIDE = (
    *("outside/secret.csv", "outside/absent.csv", "data/../outside/secret.csv", "data/link.csv", "data/nowhere.csv"),
    *("data/up/secret.csv", "data/up/absent.csv", "data/store/token", "data/store/absent", "data/store"),
    *("data/to-store/token", "dat", "database/t.csv", ""),
)
ELSEWHERE = ("/etc/passwd", "/etc/nonexistent", "/proc/self/environ", "/dev/zero", "/", "//etc/passwd")


@pytest.mark.parametrize("written", [*OUTSIDE, *ELSEWHERE])
def test_what_lies_outside_is_refused_alike(place: Path, roots: DataRoots, opened: set[str], written: str):
    path = written if written.startswith("/") else f"{place}/{written}"
    with pytest.raises(ServiceError) as refused:
        roots.open(path, MOST)
    assert refused.value.kind is ErrorKind.NOT_ALLOWED
    # The same sentence whether anything is there or not, with the directories that may be named.
    assert refused.value.message == (
        f"{path!r} does not lie below a directory that this server reads data from ({place / 'data'}); put the files "
        "there"
    )
    assert not opened


def test_the_audit_of_the_interpreter_sees_nothing_outside(place: Path, roots: DataRoots):
    seen: list[str] = []
    is_on = True

    def hook(event: str, args: tuple) -> None:
        if is_on and event == "open" and isinstance(args[0], str | os.PathLike):
            seen.append(os.path.realpath(args[0]))

    sys.addaudithook(hook)  # cannot be taken away again, only be told to be still
    try:
        for written in OUTSIDE:
            with pytest.raises(ServiceError):
                roots.open(f"{place}/{written}", MOST)
    finally:
        is_on = False
    assert not [one for one in seen if "outside" in one or "/store/" in one]


@pytest.mark.parametrize("written", ["t\n2026-01-01 INFO all is well.csv", "t\x1b[31m.csv", "t\0.csv", "t\u2028.csv"])
def test_names_that_would_write_lines_of_their_own(place: Path, roots: DataRoots, written: str):
    with pytest.raises(ServiceError) as refused:
        roots.open(f"{place}/data/{written}", MOST)
    assert refused.value.kind is ErrorKind.INVALID_ARGUMENT
    assert refused.value.message.isprintable()


def test_a_link_that_is_swapped_in_between_leads_nowhere(place: Path, roots: DataRoots, opened: set[str]):
    target, ready = place / "data/swapped.csv", place / "data/ready"
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            for one in (place / "outside/secret.csv", place / "data/t.csv"):
                ready.symlink_to(one)
                ready.replace(target)
            ready.write_text("inside")
            ready.replace(target)

    swapping = threading.Thread(target=swap)
    swapping.start()
    read = 0
    try:
        for _ in range(1000):
            try:
                with roots.open(target, MOST) as file:
                    assert file.read() == b"inside"
                    read += 1
            except (ServiceError, OSError):
                continue
    finally:
        is_over.set()
        swapping.join()
    assert read
    assert all(one.startswith(f"{place}/data") for one in opened)


def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(place: Path, roots: DataRoots, monkeypatch):
    """The worst moment: after the path was resolved, before it is opened."""
    folder = place / "data/folder"
    folder.mkdir()
    (folder / "secret.csv").write_text("inside")
    original = DataRoots.resolved

    def swapped(self: DataRoots, path: str | Path) -> Path:
        found = original(self, path)
        folder.rename(place / "data/away")
        folder.symlink_to(place / "outside")
        return found

    monkeypatch.setattr(DataRoots, "resolved", swapped)
    with pytest.raises(OSError):
        roots.open(folder / "secret.csv", MOST)


def test_without_directories_nothing_or_anything(place: Path):
    nobody, owner = DataRoots(), DataRoots(is_everywhere=True, store=place / "data/store")
    with pytest.raises(ServiceError, match=r"reads no files that you name.* --data-root") as refused:
        nobody.open(place / "data/t.csv", MOST)
    assert refused.value.kind is ErrorKind.NOT_ALLOWED
    with owner.open(place / "data/link.csv", MOST) as file:
        assert file.read().decode() == SECRET
    for name in ("store/token", "to-store/token"):
        with pytest.raises(ServiceError, match="lies in what the server itself keeps") as refused:
            owner.open(place / "data" / name, MOST)
        assert "TOPSECRET" not in refused.value.message


def make_irregular(folder: Path) -> dict[str, Path]:
    """A file of each kind that would hang, never end, or take all memory."""
    os.mkfifo(folder / "fifo")
    os.mknod(folder / "door", 0o600 | 0o140000)
    (folder / "device").symlink_to("/dev/zero")
    (folder / "folder").mkdir()
    return {name: folder / name for name in ("fifo", "door", "device", "folder")}


@pytest.mark.timeout(20)
def test_only_regular_files_of_legal_size_are_opened(tmp_path: Path):
    owner = DataRoots(is_everywhere=True)
    for path in (*make_irregular(tmp_path).values(), Path("/proc/self/environ"), Path("/sys/kernel/mm/ksm/run")):
        if path.exists():
            with pytest.raises(IrregularError, match="expected a regular file"):
                owner.open(path, MOST)
    with pytest.raises(IrregularError):
        open_regular(tmp_path / "fifo", MOST)
    (tmp_path / "sparse").write_bytes(b"")
    os.truncate(tmp_path / "sparse", 10 * 2**30)
    for attempt in (owner.open, lambda path, most: open_below(tmp_path, path, most)):
        with pytest.raises(ServiceError, match=r"10737418240 bytes.* at most") as refused:
            attempt(tmp_path / "sparse", 4 * 2**30)
        assert refused.value.kind is ErrorKind.TOO_LARGE


def test_folders_of_models_are_looked_at_whole(place: Path, roots: DataRoots):
    model = place / "data/model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "weights").symlink_to("../t.csv")
    roots.check_folder(model)
    (model / "tokenizer.json").symlink_to(place / "outside/secret.csv")
    with pytest.raises(ServiceError) as refused:
        roots.check_folder(model)
    assert refused.value.kind is ErrorKind.NOT_ALLOWED
    (model / "tokenizer.json").unlink()
    os.mkfifo(model / "tokenizer.json")
    with pytest.raises(IrregularError, match=r"tokenizer\.json"):
        roots.check_folder(model)


# Registrations.


def refusal(source: Path, out: Path, layout: str = TABLE, **request) -> ServiceError:
    """Why a registration is refused, in a sentence without anything of the file."""
    with pytest.raises(ServiceError) as refused:
        register(Request(name="x", source=source, layout=layout, **request), out, lambda *_: None, lambda: None)
    said = f"{refused.value.message} {refused.value.metadata}"
    assert not re.search("TOPSECRET|hunter2|SECRET2", said), said
    return refused.value


SECRETS = {
    "text": SECRET.encode(),
    "words": b"TOPSECRET hunter2\nSECRET2 hunter2\nSECRET2 SECRET2\n",
    "one line": b"TOPSECRET",
    "object": b'{"TOPSECRET": "hunter2"}\n{"SECRET2": 1}\n',
    "no UTF-8": b"TOPSECRET,\xff\xfe\nhunter2,SECRET2\n",
    "quotes": b'"TOPSECRET\nhunter2',
    "nameless": b"TOPSECRET,,hunter2\nSECRET2,,\n",
}
FILES = {
    "waterbirds": ("metadata.csv",),
    "celeba": ("list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"),
    "civilcomments": ("all_data_with_identities.csv",),
    "multinli": ("metadata_random.csv", "multinli_1.0_train.jsonl"),
    "imagefolder": ("metadata.csv", "train/a/1.jpg"),
    "huggingface": ("train.parquet",),
}


def test_every_layout_has_files_here():
    assert set(FILES) == set(LAYOUTS)


@pytest.mark.parametrize("secret", list(SECRETS))
def test_what_is_no_table_is_not_quoted(tmp_path: Path, secret: str):
    (tmp_path / "secret").write_bytes(SECRETS[secret])
    error = refusal(tmp_path / "secret", tmp_path / "out")
    assert error.kind is ErrorKind.BAD_TABLE
    for layout, names in FILES.items():
        folder = tmp_path / layout
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(tmp_path / "secret")
        refusal(folder, tmp_path / "out", layout)
        refusal(tmp_path / "secret", tmp_path / "out", layout)


def test_columns_are_named_where_that_helps(tmp_path: Path):
    (tmp_path / "t.csv").write_text("path,label,ground\n1.png,a,b\n")
    unknown = refusal(tmp_path / "t.csv", tmp_path / "out")
    assert "no column 'split'; got: 3 of other names" in unknown.message
    (tmp_path / "t.csv").write_text("path,y,ground\n1.png,a,b\n")
    assert "got: 'path', 'y', 'ground'" in refusal(tmp_path / "t.csv", tmp_path / "out").message
    (tmp_path / "t.csv").write_text("path,label,ground\n1.png,a,b\n")
    with reading(DataRoots(roots=(tmp_path,))):
        assert "got: 'path', 'label', 'ground'" in refusal(tmp_path / "t.csv", tmp_path / "out").message


@pytest.mark.timeout(30)
@pytest.mark.parametrize("layout", [TABLE, *FILES])
def test_tables_that_would_never_end_are_refused(tmp_path: Path, layout: str):
    for kind, path in make_irregular(tmp_path).items():
        if layout == TABLE:
            assert refusal(path, tmp_path / "out").kind is ErrorKind.BAD_TABLE
        elif kind != "folder":
            folder = tmp_path / f"{layout}-{kind}"
            for name in FILES[layout]:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).symlink_to(path)
            assert refusal(folder, tmp_path / "out", layout).kind in (
                ErrorKind.BAD_TABLE,
                ErrorKind.FILES_MISSING,
                ErrorKind.ATTRIBUTE_MISSING,
            )


def test_tables_of_holes_and_bombs(tmp_path: Path, monkeypatch):
    for size, kind in ((10 * 2**30, ErrorKind.TOO_LARGE), (2**31, ErrorKind.BAD_TABLE)):
        with (tmp_path / "sparse.csv").open("wb") as file:
            file.truncate(size)
        assert refusal(tmp_path / "sparse.csv", tmp_path / "out").kind is kind
    monkeypatch.setattr(tables, "MOST_TABLE_BYTES", 2**20)
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    (tmp_path / "bomb.csv.gz").write_bytes(compressor.compress(b"y,split\n" * 2**18) + compressor.flush())
    assert refusal(tmp_path / "bomb.csv.gz", tmp_path / "out").kind is ErrorKind.TOO_LARGE


def test_reading_ends_when_nobody_wants_it(tmp_path: Path):
    (tmp_path / "t.csv").write_bytes(b"y,split\n" + b"a,b\n" * 2**21)
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 2:
            raise ServiceError(ErrorKind.CANCELLED, "enough")

    with reading(DataRoots(is_everywhere=True), beat), pytest.raises(ServiceError, match="enough"):
        read_named(tmp_path / "t.csv", 2**30)
    assert beats == 2


# Images that a table names.


def png(width: int, height: int) -> bytes:
    """A PNG whose header says its size, and which ends there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def table_of(folder: Path, image: str) -> Path:
    rows = [f"{split},{y},{a},{image},{split}{y}{a}" for split in ("train", "val") for y in "01" for a in "01"]
    (folder / "t.csv").write_text("\n".join(["split,y,a,path,id", *rows]) + "\n")
    return folder / "t.csv"


@pytest.mark.timeout(30)
def test_images_that_are_none(place: Path, roots: DataRoots):
    data = place / "data"
    for name, path in make_irregular(data).items():
        error = refusal(table_of(data, path.name), place / "out")
        assert error.kind is (ErrorKind.BAD_TABLE if name == "device" else ErrorKind.FILES_MISSING)
    for leads_out in ("../outside/secret.csv", "link.csv", "/etc/passwd"):
        assert "leads outside" in refusal(table_of(data, leads_out), place / "out").message
    with (data / "sparse.png").open("wb") as file:
        file.truncate(10 * 2**30)
    assert refusal(table_of(data, "sparse.png"), place / "out").kind is ErrorKind.TOO_LARGE
    for side in (30_000, 13_300, 9_000):
        (data / "bomb.png").write_bytes(png(side, side))
        error = refusal(table_of(data, "bomb.png"), place / "out")
        assert error.kind is ErrorKind.CORRUPT_IMAGE
        assert "pixels" in error.message
    with reading(roots):
        assert refusal(table_of(data, "store/token"), place / "out").kind is ErrorKind.NOT_ALLOWED
        assert refusal(place / "outside/secret.csv", place / "out").kind is ErrorKind.NOT_ALLOWED


def test_a_socket_is_no_table(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("door.csv")
        assert "it is a socket" in refusal(tmp_path / "door.csv", tmp_path / "out").message
