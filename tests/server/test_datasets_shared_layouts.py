"""Forms of files that tools share: images in folders, and Parquet files as the Hugging Face Hub holds them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from published_data import save_picture

from penult_proto.errors import ErrorKind
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.registration import Request, register
from penult_server.datasets.stored import RegisteredDataset
from penult_server.errors import ServiceError

ROWS = [
    (split, y, a, f"{y}{a}{i}")
    for split in ("train", "validation", "test")
    for y in range(2)
    for a in range(2)
    for i in range(2)
]
CLASSES, GROUNDS = ("zebra", "ant"), ("red", "green")


def registered(layout: str, source: Path, out: Path, **columns) -> RegisteredDataset:
    request = Request(name="mine", source=source, layout=layout, columns=Columns(**columns))
    info = register(request, out, lambda *_: None, lambda: None)
    assert {path.name for path in out.iterdir()} >= {info.digest}
    assert not list(out.glob(".staging-*"))
    return RegisteredDataset(out / info.digest)


def check_pictures(dataset: RegisteredDataset, classes: tuple[str, ...], grounds: tuple[str, ...]) -> None:
    """Every picture is of the class and the ground that its labels say, by how it was drawn."""
    assert list(dataset.info.splits) == ["train", "val", "test"]
    n = 0
    for split in dataset.info.splits:
        labels = dataset.info.split(split)
        for image, y, a in zip(dataset.examples(split), labels.y, labels.a[:, 0], strict=True):
            pixels = np.asarray(image, float)
            ground = GROUNDS.index(grounds[a])
            assert pixels[..., ground].mean() > pixels[..., 1 - ground].mean() + 50
            bright = pixels[5:11, 5:11].mean() > pixels[:3].mean() + 40
            assert bright == (CLASSES.index(classes[y]) == 1)
            n += 1
    assert n == len(ROWS)


# Folders.


def make_folders(directory: Path, form: str = "csv", per_split: bool = True, classes: bool = True) -> Path:
    """SPLIT/CLASS/*.jpg, with the ground of every image in the metadata."""
    lines: dict[str, list[dict]] = {}
    for seed, (split, y, a, name) in enumerate(ROWS):
        inner = f"{CLASSES[y]}/{name}.JPG" if classes else f"{name}.jpg"
        save_picture(directory / split / inner, y, a, seed)
        row = {"file_name": inner if per_split else f"{split}/{inner}", "ground": GROUNDS[a], "night": bool(a)}
        lines.setdefault(split if per_split else "", []).append(row | ({} if classes else {"label": CLASSES[y]}))
    for place, rows in lines.items():
        file = directory / place / f"metadata.{form}"
        if form == "csv":
            with file.open("w", newline="") as opened:
                writer = csv.DictWriter(opened, list(rows[0]))
                writer.writeheader()
                writer.writerows(reversed(rows))
        elif form == "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), file)
    return directory


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("per_split", [True, False])
@pytest.mark.parametrize("classes", [True, False])
def test_folders_are_classes_and_metadata_attributes(tmp_path, form, per_split, classes):
    source = make_folders(tmp_path / "data", form, per_split, classes)
    dataset = registered("imagefolder", source, tmp_path / "out")
    assert dataset.info.classes == ("ant", "zebra")
    assert [(one.name, one.values) for one in dataset.info.attributes] == [
        ("ground", ("green", "red")),
        ("night", ("false", "true")),
    ]
    check_pictures(dataset, ("ant", "zebra"), ("green", "red"))
    assert [note.id for note in dataset.info.notes] == ["splits_guessed"]
    assert "'validation' as val" in dataset.info.notes[0].text


def test_the_identity_of_folders_is_their_content(tmp_path):
    """The form and place of the metadata and of the folders do not matter; a label and a pixel do."""
    first = registered("imagefolder", make_folders(tmp_path / "a"), tmp_path / "out").info.digest
    assert (
        registered("imagefolder", make_folders(tmp_path / "b", "jsonl", False), tmp_path / "out").info.digest == first
    )
    other = make_folders(tmp_path / "c")
    save_picture(other / "train/ant/100.JPG", 1, 0, 99)
    assert registered("imagefolder", other, tmp_path / "out").info.digest != first


def test_without_folders_of_splits_a_column_says_them(tmp_path):
    for seed, (_, y, a, name) in enumerate(ROWS[:8]):
        save_picture(tmp_path / f"data/{CLASSES[y]}/{name}.png", y, a, seed)
    lines = [f"{CLASSES[y]}/{name}.png,{GROUNDS[a]},{int(name[-1])}" for _, y, a, name in ROWS[:8]]
    (tmp_path / "data/metadata.csv").write_text("\n".join(["file_name,ground,fold", *lines]))
    plain = registered("imagefolder", tmp_path / "data", tmp_path / "out")
    assert list(plain.info.splits) == ["train"]
    assert [one.name for one in plain.info.attributes] == ["ground", "fold"]
    folds = registered(
        "imagefolder", tmp_path / "data", tmp_path / "out", split="fold", splits={"0": "train", "1": "test"}
    )
    assert {split: len(folds.info.split(split).y) for split in folds.info.splits} == {"train": 4, "test": 4}


def changed(directory: Path, name: str, old: str, new: str) -> None:
    text = (directory / name).read_text()
    assert old in text
    (directory / name).write_text(text.replace(old, new))


BROKEN_FOLDERS = {
    "no metadata": (
        lambda d: [(d / split / "metadata.csv").unlink() for split in ("train", "validation", "test")],
        ErrorKind.ATTRIBUTE_MISSING,
        "with 'file_name'",
    ),
    "an image without a row": (
        lambda d: save_picture(d / "train/ant/more.jpg", 1, 1, 0),
        ErrorKind.BAD_TABLE,
        r"train/ant/more\.jpg has no row",
    ),
    "a row without an image": (
        lambda d: (d / "test/ant/110.JPG").unlink(),
        ErrorKind.FILES_MISSING,
        r"name 'test/ant/110\.JPG' and 0 other files",
    ),
    "a row twice": (
        lambda d: changed(d, "train/metadata.csv", "ant/110.JPG", "ant/111.JPG"),
        ErrorKind.BAD_TABLE,
        r"'ant/111\.JPG' has had a row before",
    ),
    "no column file_name": (
        lambda d: changed(d, "train/metadata.csv", "file_name", "file"),
        ErrorKind.BAD_TABLE,
        r"has no column 'file_name'; got: 3 of other names, if it is a table at all",
    ),
    "two metadata": (
        lambda d: (d / "train/metadata.jsonl").write_text("{}"),
        ErrorKind.BAD_TABLE,
        r"metadata\.csv and metadata\.jsonl; keep one",
    ),
    "no class": (
        lambda d: (
            (d / "test/ant/110.JPG").rename(d / "test/110.JPG"),
            changed(d, "test/metadata.csv", "ant/110", "110"),
        ),
        ErrorKind.BAD_TABLE,
        r"test/110\.JPG lies in no folder of a class",
    ),
    "no split": (
        lambda d: (
            save_picture(d / "more/ant/x.jpg", 1, 1, 0),
            (d / "metadata.csv").write_text("file_name,ground,night\nmore/ant/x.jpg,red,False\n"),
        ),
        ErrorKind.BAD_TABLE,
        r"more/ant/x\.jpg lies in no folder of a split",
    ),
    "broken lines": (
        lambda d: ((d / "test/metadata.csv").unlink(), (d / "test/metadata.jsonl").write_text("{")),
        ErrorKind.BAD_TABLE,
        "cannot be read as lines of JSON",
    ),
    "no images": (
        lambda d: [file.unlink() for file in d.rglob("*.JPG")],
        ErrorKind.FILES_MISSING,
        "has no images below it",
    ),
    "a value missing": (
        lambda d: changed(d, "test/metadata.csv", "ant/110.JPG,green", "ant/110.JPG,"),
        ErrorKind.BAD_TABLE,
        r"\(test/ant/110\.JPG\).*'ground' is empty",
    ),
}


@pytest.mark.parametrize("what", list(BROKEN_FOLDERS))
def test_broken_folders_are_refused_by_name(tmp_path, what):
    change, kind, match = BROKEN_FOLDERS[what]
    source = make_folders(tmp_path / "data")
    change(source)
    with pytest.raises(ServiceError, match=match) as refusal:
        registered("imagefolder", source, tmp_path / "out")
    assert refusal.value.kind == kind
    assert not list((tmp_path / "out").glob("*"))


# Parquet of the Hub.


def picture(y: int, a: int, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 60, (16, 16, 3))
    pixels[:, :, a] += 90
    pixels[4:12, 4:12] += 60 * y
    Image.fromarray(pixels.astype(np.uint8)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def make_hub(directory: Path, n_parts: int = 2, text: bool = False, folder: str = "data") -> Path:
    """data/SPLIT-0000i-of-0000n.parquet, as `Dataset.push_to_hub` writes them."""
    (directory / folder).mkdir(parents=True)
    features = {
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
        "ground": {"names": {"1": GROUNDS[1], "0": GROUNDS[0]}, "_type": "ClassLabel"},
        "night": {"dtype": "bool", "_type": "Value"},
        "image": {"_type": "Image"},
    }
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "validation", "test"):
        rows = [(seed, *row) for seed, row in enumerate(ROWS) if row[0] == split]
        for part, some in enumerate(np.array_split(np.arange(len(rows)), n_parts)):
            chosen = [rows[i] for i in some]
            columns = {
                "label": pa.array([y for _, _, y, _, _ in chosen], pa.int64()),
                "ground": pa.array([a for *_, a, _ in chosen], pa.int64()),
                "night": pa.array([bool(a) for *_, a, _ in chosen]),
                "boxes": pa.array([[1, 2] for _ in chosen]),
            }
            if text:
                columns["text"] = pa.array([f"{CLASSES[y]} on {GROUNDS[a]} {name}" for _, _, y, a, name in chosen])
            else:
                cells = [{"bytes": picture(y, a, seed), "path": f"{name}.png"} for seed, _, y, a, name in chosen]
                columns["image"] = pa.array(cells, image_type)
            metadata = {"huggingface": json.dumps({"info": {"features": features}})}
            table = pa.table(columns).replace_schema_metadata(metadata)
            pq.write_table(table, directory / folder / f"{split}-{part:05d}-of-{n_parts:05d}.parquet")
    return directory


@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize("folder", ["data", "."])
def test_images_of_the_hub(tmp_path, n_parts, folder):
    source = make_hub(tmp_path / "hub", n_parts, folder=folder)
    dataset = registered("huggingface", source, tmp_path / "out")
    assert dataset.info.classes == CLASSES, "in the order of the ClassLabel, not of the alphabet"
    assert [(one.name, one.values) for one in dataset.info.attributes] == [
        ("ground", GROUNDS),
        ("night", ("false", "true")),
    ]
    check_pictures(dataset, CLASSES, GROUNDS)


def test_the_identity_of_the_hub_is_its_content(tmp_path):
    """Parts do not matter, nor does whether it was registered before; the source may go away afterwards."""
    first = registered("huggingface", make_hub(tmp_path / "a", 1), tmp_path / "out")
    second = registered("huggingface", make_hub(tmp_path / "b", 3), tmp_path / "out")
    assert first.info.digest == second.info.digest
    for file in tmp_path.glob("[ab]/data/*"):
        file.unlink()
    check_pictures(RegisteredDataset(tmp_path / "out" / first.info.digest), CLASSES, GROUNDS)


def test_texts_of_the_hub(tmp_path):
    dataset = registered("huggingface", make_hub(tmp_path / "hub", text=True), tmp_path / "out", attributes=("ground",))
    for split in dataset.info.splits:
        labels = dataset.info.split(split)
        for text, y, a in zip(dataset.examples(split), labels.y, labels.a[:, 0], strict=True):
            assert text.startswith(f"{CLASSES[y]} on {GROUNDS[a]} ")
    assert not list((tmp_path / "out").rglob("images"))


def rewritten(column: str, change) -> None:
    def apply(directory: Path) -> None:
        file = directory / "data/test-00001-of-00002.parquet"
        table = pq.read_table(file)
        index = table.schema.names.index(column)
        field = table.schema.field(index)
        values = pa.chunked_array([pa.array(change(table.column(index).to_pylist()), field.type)])
        pq.write_table(table.set_column(index, field, values), file)

    return apply


BROKEN_HUB = {
    "no files": (lambda d: [file.unlink() for file in d.glob("data/*")], "holds no data/SPLIT-"),
    "half a file": (lambda d: (d / "data/test-00000-of-00002.parquet").write_bytes(b"PAR1"), "cannot be read"),
    "hidden labels": (rewritten("label", lambda values: [-1, *values[1:]]), "'label' is -1.*hidden label"),
    "no bytes": (
        rewritten("image", lambda cells: [{"bytes": None, "path": "x.png"}, *cells[1:]]),
        "row 0 of test-00001-of-00002.parquet: 'image' has a path and no bytes",
    ),
    "no image": (rewritten("image", lambda cells: [{"bytes": b"x", "path": ""}, *cells[1:]]), "no image that can be"),
    "other columns": (
        lambda d: pq.write_table(pa.table({"x": [1]}), d / "data/test-00000-of-00002.parquet"),
        "has other columns than",
    ),
}


@pytest.mark.parametrize("what", list(BROKEN_HUB))
def test_broken_files_of_the_hub_are_refused(tmp_path, what):
    change, match = BROKEN_HUB[what]
    source = make_hub(tmp_path / "hub")
    change(source)
    with pytest.raises(ServiceError, match=match):
        registered("huggingface", source, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_columns_of_the_hub_are_named_where_they_are_not_the_usual_ones(tmp_path):
    source = make_hub(tmp_path / "hub")
    turned_round = registered("huggingface", source, tmp_path / "out", y="ground", attributes=("label",))
    assert turned_round.info.classes == GROUNDS
    assert turned_round.info.attributes[0].values == CLASSES
    with pytest.raises(ServiceError, match="column 'label' holds no images"):
        registered("huggingface", source, tmp_path / "out", path="label")
    with pytest.raises(ServiceError, match="is a file"):
        registered("huggingface", next(source.glob("data/*")), tmp_path / "out")
