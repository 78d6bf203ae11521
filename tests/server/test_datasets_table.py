"""Registering tables of images and texts, and opening them again."""

import csv
import os
import pickle
import shutil
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penult_proto.errors import ErrorKind
from penult_server.datasets.catalog import DATASETS_DIRECTORY, describe_packaged, open_dataset, packaged
from penult_server.datasets.images import ImageError, check_image, decode_image
from penult_server.datasets.model import DatasetInfo
from penult_server.datasets.registration import Request, register
from penult_server.datasets.stored import RegisteredDataset, check_files
from penult_server.errors import ServiceError

ORIENTATION = 0x0112
HEADER = ["split", "path", "y", "ground"]


def no_progress(stage: str, done: float, total: float, unit: str) -> None:
    pass


def never_cancelled() -> None:
    pass


def write_table(directory: Path, rows: Sequence[Sequence[object]]) -> Path:
    table = directory / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return table


def register_table(table: Path, out: Path, name: str = "mine") -> DatasetInfo:
    return register(Request(name=name, source=table, description="From a test."), out, no_progress, never_cancelled)


def save_image(path: Path, color: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), color).save(path)


def refused(table: Path, out: Path, kind: ErrorKind, message: str) -> ServiceError:
    """Register, expect a refusal, and that it leaves nothing behind."""
    with pytest.raises(ServiceError, match=message) as raised:
        register_table(table, out)
    assert raised.value.kind is kind
    assert not out.exists() or not list(out.iterdir())
    return raised.value


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "store" / DATASETS_DIRECTORY


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six images of one color each, and their table."""
    directory = tmp_path / "data"
    rows: list[Sequence[object]] = [HEADER]
    for i in range(6):
        save_image(directory / f"images/{i}.png", (40 * i, 0, 255 - 40 * i))
        split = "train" if i < 4 else "test"
        rows.append([split, f"images/{i}.png", "cat" if i % 2 else "dog", "snow" if i in (1, 2) else "beach"])
    write_table(directory, rows)
    return directory


# Round trips.


def test_images_come_back_as_they_were(data: Path, out: Path):
    seen: list[tuple[str, float, float, str]] = []

    def progress(stage: str, done: float, total: float, unit: str) -> None:
        seen.append((stage, done, total, unit))

    info = register(
        Request(name="mine", source=data / "table.csv", description="Pets."), out, progress, never_cancelled
    )
    assert seen == [("reading", i, 6, "files") for i in range(1, 7)]
    assert [path.name for path in out.iterdir()] == [info.digest]
    dataset = RegisteredDataset(out / info.digest)
    assert (dataset.info.name, dataset.info.description) == ("mine", "Pets.")
    assert dataset.info.classes == ("cat", "dog")
    assert [(item.name, item.values) for item in dataset.info.attributes] == [("ground", ("beach", "snow"))]
    assert list(dataset.info.splits) == ["train", "test"]
    train = dataset.info.split("train")
    assert train.row_id.tolist() == [0, 1, 2, 3]
    assert train.y.tolist() == [1, 0, 1, 0]
    assert train.a.tolist() == [[0], [1], [1], [0]]
    assert dataset.info.group_counts("train").tolist() == [1, 1, 1, 1]
    for i, image in enumerate([*dataset.examples("train"), *dataset.examples("test")]):
        assert np.array_equal(image, np.full((4, 6, 3), (40 * i, 0, 255 - 40 * i)))
    check_files(dataset, list(info.splits))
    assert np.array_equal(pickle.loads(pickle.dumps(dataset.examples("test")))[1], dataset.examples("test")[1])


def test_jpeg_is_turned_upright_and_other_modes_become_rgb(tmp_path: Path, out: Path):
    directory = tmp_path / "data"
    directory.mkdir()
    left_to_right = np.zeros((16, 32, 3), np.uint8)
    left_to_right[:, 16:] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(left_to_right).save(directory / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(np.full((3, 3), 77, np.uint8)).save(directory / "gray.png")
    Image.fromarray(np.full((3, 3), 77 * 256 + 200, np.uint16)).save(directory / "deep.png")
    palette = Image.new("RGB", (3, 3), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(directory / "palette.png", transparency=b"\x80\xff")
    Image.new("RGBA", (3, 3), (1, 2, 3, 0)).save(directory / "clear.png")
    names = ["turned.jpg", "gray.png", "deep.png", "palette.png", "clear.png"]
    rows = [HEADER, *(["train", name, "0", "0"] for name in names)]
    info = register_table(write_table(directory, rows), out)
    turned, gray, deep, palette_rgb, clear = RegisteredDataset(out / info.digest).examples("train")
    expected = np.zeros((32, 16, 3))
    expected[16:] = 255
    assert np.shape(turned) == expected.shape
    assert np.abs(np.asarray(turned, float) - expected).max() < 12
    assert np.array_equal(gray, np.full((3, 3, 3), 77))
    assert np.array_equal(deep, np.full((3, 3, 3), 77))
    assert np.array_equal(palette_rgb, np.full((3, 3, 3), (10, 200, 30)))
    assert np.array_equal(clear, np.full((3, 3, 3), (1, 2, 3)))


def test_texts_are_kept_with_the_dataset(tmp_path: Path, out: Path):
    texts = ["Fine,\nreally.", 'She said "no".', "Größe – 10 €", "  spaces stay "]
    rows = [
        ["id", "text", "y", "split", "domain", "negation"],
        *([10 * i, text, 10 - i, "train", "news", i % 2] for i, text in enumerate(texts)),
        [],
        [99, "x", "10", "test", "film", "0"],
    ]
    table = write_table(tmp_path, rows)
    info = register_table(table, out)
    table.unlink()
    dataset = RegisteredDataset(out / info.digest)
    assert dataset.info.modality == "text"
    assert list(dataset.examples("train")) == texts
    assert dataset.info.classes == ("7", "8", "9", "10"), "integers are ordered as numbers"
    assert [item.name for item in dataset.info.attributes] == ["domain", "negation"]
    assert dataset.info.split("train").row_id.tolist() == [0, 10, 20, 30]
    assert dataset.info.split("test").row_id.tolist() == [99]
    assert dataset.info.split("train").a.tolist() == [[1, 0], [1, 1], [1, 0], [1, 1]]
    check_files(dataset, ["train", "test"])


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["7", "3"], [7, 3]),
        ([str(2**64 - 1), "0"], [2**64 - 1, 0]),
        (["a", "3"], [0, 1]),
        (["07", "7"], [0, 1]),
        ([str(2**64), "1"], [0, 1]),
        (["-1", "1"], [0, 1]),
    ],
)
def test_row_ids_are_whole_number_ids_or_positions(tmp_path: Path, out: Path, ids: list[str], expected: list[int]):
    rows = [["id", "split", "text", "y", "a"], *([value, "train", "t", "0", "0"] for value in ids)]
    info = register_table(write_table(tmp_path, rows), out)
    assert info.split("train").row_id.tolist() == expected


def test_encoding_20000_rows_is_quick_and_right(tmp_path: Path, out: Path):
    rng = np.random.default_rng(0)
    y, a = rng.integers(0, 12, 20_000), rng.integers(0, 5, 20_000)
    rows = [["split", "text", "y", "a"], *(["train", "word " * 10, *pair] for pair in zip(y, a, strict=True))]
    table = write_table(tmp_path, rows)
    start = time.process_time()
    info = register_table(table, out)
    assert time.process_time() - start < 1.0
    train = info.split("train")
    assert np.array_equal(train.y, y)
    assert np.array_equal(train.a[:, 0], a)
    assert np.array_equal(info.group_counts("train"), np.bincount(y * 5 + a, minlength=60))


# Identity.


def test_the_digest_follows_content_and_not_place_or_name(data: Path, out: Path, tmp_path: Path):
    first = register_table(data / "table.csv", out)
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    shutil.rmtree(data)
    with pytest.raises(ServiceError):
        check_files(RegisteredDataset(out / first.digest), ["train"])
    second = register_table(moved / "table.csv", out, name="renamed")
    assert second.digest == first.digest
    dataset = RegisteredDataset(out / first.digest)
    assert dataset.info.name == "renamed"
    check_files(dataset, ["train", "test"])
    assert [path.name for path in out.iterdir()] == [first.digest]


@pytest.mark.parametrize(("old", "new"), [("cat", "cow"), ("beach", "mud"), ("test", "val"), ("3.png", "9.png")])
def test_the_digest_changes_with_labels_splits_and_ids(data: Path, out: Path, old: str, new: str):
    table = data / "table.csv"
    first = register_table(table, out)
    shutil.copy(data / "images/3.png", data / "images/9.png")
    table.write_text(table.read_text().replace(old, new))
    assert register_table(table, out).digest != first.digest


def test_the_digest_changes_with_the_pixels(data: Path, out: Path):
    first = register_table(data / "table.csv", out)
    save_image(data / "images/3.png", (1, 1, 1))
    assert register_table(data / "table.csv", out).digest != first.digest


# Files that change afterwards.


def test_a_vanished_file_is_found_before_and_when_it_is_opened(data: Path, out: Path):
    dataset = RegisteredDataset(out / register_table(data / "table.csv", out).digest)
    (data / "images/5.png").unlink()
    check_files(dataset, ["train"])
    for attempt in (lambda: check_files(dataset, ["train", "test"]), lambda: dataset.examples("test")[1]):
        with pytest.raises(ServiceError, match=r"'mine', row id 5: .*images/5.png cannot be read") as raised:
            attempt()
        assert raised.value.kind is ErrorKind.FILES_MISSING
        assert raised.value.metadata["row_id"] == "5"


def test_a_changed_file_is_found_when_it_is_opened(data: Path, out: Path):
    dataset = RegisteredDataset(out / register_table(data / "table.csv", out).digest)
    path = data / "images/4.png"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the same size, and still an image
    path.write_bytes(content)
    with pytest.raises(ServiceError, match=r"row id 4: .* not the file that was registered") as raised:
        dataset.examples("test")[0]
    assert raised.value.kind is ErrorKind.DATASET_CHANGED
    assert np.shape(dataset.examples("test")[1]) == (4, 6, 3)


def test_a_file_of_another_size_is_found_before_it_is_opened(data: Path, out: Path):
    dataset = RegisteredDataset(out / register_table(data / "table.csv", out).digest)
    with (data / "images/4.png").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ServiceError) as raised:
        check_files(dataset, ["test"])
    assert raised.value.kind is ErrorKind.DATASET_CHANGED


# Refusals of the table; `read_rows` has its own tests.


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(table: Path) -> None:
        text = table.read_text()
        assert old in text
        table.write_text(text.replace(old, new))

    return change


BAD_PATHS = {
    "file twice": (
        replaced("images/3.png", "images/../images/1.png"),
        "row 5 of table.csv repeats the file .* of row 3",
    ),
    "path outside": (replaced("images/3.png", "../3.png"), "row 5 of table.csv: '../3.png' leads outside"),
    "absolute path outside": (replaced("images/3.png", "/etc/hostname"), "row 5 of table.csv: .* leads outside"),
    "no train split": (replaced("train", "fit"), "no row has the split"),
}


@pytest.mark.parametrize("case", list(BAD_PATHS))
def test_bad_tables_are_refused(data: Path, out: Path, case: str):
    change, message = BAD_PATHS[case]
    change(data / "table.csv")
    refused(data / "table.csv", out, ErrorKind.BAD_TABLE, message)


# Refusals of files.


def test_a_missing_file_is_named_with_its_row(data: Path, out: Path):
    (data / "images/2.png").unlink()
    error = refused(
        data / "table.csv", out, ErrorKind.FILES_MISSING, "row 4 of table.csv: 'images/2.png' .* No such file"
    )
    assert error.metadata == {"row": "4", "file": "images/2.png"}


def test_a_path_with_a_nul_character_is_no_file(data: Path, out: Path):
    replaced("images/3.png", "images/\0.png")(data / "table.csv")
    refused(data / "table.csv", out, ErrorKind.FILES_MISSING, "row 5 of table.csv: .* NUL character")


def test_a_directory_and_a_loop_of_links_are_no_files(data: Path, out: Path):
    path = data / "images/2.png"
    path.unlink()
    path.mkdir()
    refused(data / "table.csv", out, ErrorKind.FILES_MISSING, "row 4 of table.csv: .* not a file")
    path.rmdir()
    path.symlink_to(path)
    refused(data / "table.csv", out, ErrorKind.FILES_MISSING, "row 4 of table.csv: ")


@pytest.mark.parametrize("keep", [0, 20, -200], ids=["empty", "only a header", "cut short"])
def test_a_corrupt_image_is_named_with_its_row(data: Path, out: Path, keep: int):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    path = data / "images/2.png"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    error = refused(data / "table.csv", out, ErrorKind.CORRUPT_IMAGE, "row 4 of table.csv: 'images/2.png' is no image")
    assert error.metadata == {"row": "4", "file": "images/2.png"}


def test_a_cut_jpeg_and_floating_point_pixels_are_refused(data: Path, out: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = data / "images/2.png"
    Image.fromarray(pixels).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:1500])
    refused(data / "table.csv", out, ErrorKind.CORRUPT_IMAGE, "row 4 of table.csv: .* truncated")
    Image.fromarray(np.ones((4, 4), np.float32)).save(path, format="TIFF")
    refused(data / "table.csv", out, ErrorKind.CORRUPT_IMAGE, "mode 'F'")


def test_links_may_stay_inside_but_not_lead_out(data: Path, out: Path, tmp_path: Path):
    secret = tmp_path / "secret.png"
    save_image(secret, (9, 9, 9))
    link = data / "images/2.png"
    link.unlink()
    link.symlink_to(secret)
    refused(data / "table.csv", out, ErrorKind.BAD_TABLE, "row 4 of table.csv: 'images/2.png' leads outside")
    link.unlink()
    inside = data / "elsewhere/2.png"
    save_image(inside, (9, 9, 9))
    link.symlink_to(inside)
    dataset = RegisteredDataset(out / register_table(data / "table.csv", out).digest)
    assert np.array_equal(dataset.examples("train")[2], np.full((4, 6, 3), 9))


def test_absolute_paths_inside_are_read(data: Path, out: Path):
    replaced("images/3.png", str(data / "images/3.png"))(data / "table.csv")
    first = register_table(data / "table.csv", out)
    replaced(str(data / "images/3.png"), "images/3.png")(data / "table.csv")
    assert register_table(data / "table.csv", out).digest == first.digest


# Names, cancelling, the catalog.


@pytest.mark.parametrize("name", ["", "Mine", "-mine", "my data", "../mine", "a" * 64, "mine\n"])
def test_names_out_of_form_are_refused(data: Path, out: Path, name: str):
    with pytest.raises(ServiceError, match="expected a small letter or digit") as raised:
        register_table(data / "table.csv", out, name=name)
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT


def test_the_packaged_name_is_taken(data: Path, out: Path):
    with pytest.raises(ServiceError) as raised:
        register_table(data / "table.csv", out, name="footwear")
    assert raised.value.kind is ErrorKind.NAME_TAKEN


@pytest.mark.parametrize("n_calls", [1, 4, 7])
def test_cancelling_leaves_nothing_behind(data: Path, out: Path, n_calls: int):
    calls = 0

    def check_cancelled() -> None:
        nonlocal calls
        calls += 1
        if calls == n_calls:
            raise ServiceError(ErrorKind.CANCELLED, "cancelled")

    with pytest.raises(ServiceError) as raised:
        register(Request(name="mine", source=data / "table.csv"), out, no_progress, check_cancelled)
    assert raised.value.kind is ErrorKind.CANCELLED
    assert not out.exists()


def test_datasets_are_opened_by_name_and_digest(data: Path, out: Path):
    info = register_table(data / "table.csv", out)
    dataset = open_dataset("other-name", info.digest, out.parent)
    assert (dataset.info.name, dataset.info.digest) == ("other-name", info.digest)
    footwear = describe_packaged()["footwear"]
    assert open_dataset("footwear", footwear.digest, out.parent).info.digest == footwear.digest
    assert packaged()["footwear"]().info is footwear
    check_files(open_dataset("footwear", footwear.digest, out.parent), ["train", "val", "test"])


@pytest.mark.parametrize("file", ["manifest.json", "labels.npz", "registration.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff\xfe"], ids=str)
def test_a_damaged_directory_is_told(data: Path, out: Path, file: str, content: bytes | None):
    directory = out / register_table(data / "table.csv", out).digest
    if content is None:
        os.unlink(directory / file)
    else:
        (directory / file).write_bytes(content)
    with pytest.raises(ServiceError, match="delete it and register again") as raised:
        RegisteredDataset(directory)
    assert raised.value.kind is ErrorKind.STORE_CORRUPT


def test_check_files_refuses_an_unknown_split(data: Path, out: Path):
    dataset = RegisteredDataset(out / register_table(data / "table.csv", out).digest)
    with pytest.raises(ServiceError, match="known: train, test") as raised:
        check_files(dataset, ["train", "validation"])
    assert raised.value.kind is ErrorKind.UNKNOWN_SPLIT


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_checking_an_image_says_what_decoding_it_says():
    """Cut at every length, altered at every byte, in several modes: neither accepts what the other refuses."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4)).astype(np.uint8)
    image = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    contents: list[bytes] = []
    for mode, form, options in (
        ("RGB", "PNG", {}),
        ("RGB", "JPEG", {}),
        ("RGB", "JPEG", {"exif": turned}),
        ("P", "GIF", {"transparency": 3}),
        ("RGBA", "PNG", {}),
        ("F", "TIFF", {}),
    ):
        file = BytesIO()
        (image.convert("L") if mode == "F" else image).convert(mode).save(file, form, **options)
        contents.append(file.getvalue())
    for content in contents:
        step = max(1, len(content) // 60)
        spoilt = [content[:i] for i in range(0, len(content), step)]
        spoilt += [content[:i] + bytes([content[i] ^ 255]) + content[i + 1 :] for i in range(0, len(content), step)]
        for one in [content, *spoilt]:
            assert said_by(check_image, one) == said_by(decode_image, one)


def said_by(look: Callable[[bytes], object], content: bytes) -> str:
    try:
        look(content)
    except ImageError as error:
        return str(error)
    return "fine"
