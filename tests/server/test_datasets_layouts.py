"""Published datasets in their owners' files: labels, groups and counts."""

import csv
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from published_data import (
    CELEBA_ATTRIBUTES,
    IDENTITIES,
    LABELS,
    MULTINLI_FILES,
    SPLITS,
    Layout,
    make_celeba,
    make_civilcomments,
    make_multinli,
    make_waterbirds,
    read,
    registered,
)

from penult_server.datasets.layouts.document import HELP, documents
from penult_server.datasets.layouts.multinli import has_negation
from penult_server.datasets.layouts.reading import LAYOUTS, PUBLISHED_LAYOUTS, layout_of
from penult_server.datasets.stored import RegisteredDataset
from penult_server.stores.disk.sealed import sealed_text

PUBLISHED = {
    # Sagawa et al. 2020, table 1 and appendix; Koh et al. 2021. Order: class, then attribute.
    "waterbirds": {"train": [3498, 184, 56, 1057], "val": [467, 466, 133, 133], "test": [2255, 2255, 642, 642]},
    "celeba": {
        "train": [71629, 66874, 22880, 1387],
        "val": [8535, 8276, 2874, 182],
        "test": [9767, 7535, 2480, 180],
    },
    # Of the validation split of CivilComments the total is published; these are any four that sum to it.
    "civilcomments": {
        "train": [148186, 90337, 12731, 17784],
        "val": [25180, 15000, 2000, 3000],
        "test": [74780, 43778, 6455, 8769],
    },
    "multinli": {
        "train": [57498, 11158, 67376, 1521, 66630, 1992],
        "val": [22814, 4634, 26949, 613, 26655, 797],
        "test": [34597, 6655, 40496, 886, 39930, 1148],
    },
}


# Labels, by another reading of the same files.


def test_waterbirds(tmp_path: Path):
    source = make_waterbirds(tmp_path / "data")
    dataset = registered(Layout.WATERBIRDS, source, tmp_path / "out")
    with (source / "metadata.csv").open() as file:
        lines = list(csv.DictReader(file))
    for number, split in enumerate(SPLITS):
        expected = [line for line in lines if int(line["split"]) == number]
        labels = dataset.info.split(split)
        assert labels.row_id.tolist() == [int(line["img_id"]) for line in expected]
        assert labels.y.tolist() == [int(line["y"]) for line in expected]
        assert labels.a[:, 0].tolist() == [int(line["place"]) for line in expected]
    assert [group.name for group in dataset.info.groups()] == [
        "landbird, land",
        "landbird, water",
        "waterbird, land",
        "waterbird, water",
    ]
    assert np.shape(dataset.examples("test")[2]) == (16, 16, 3)
    assert read(Layout.WATERBIRDS, source / "metadata.csv").paths == [line["img_filename"] for line in lines]


@pytest.mark.parametrize("form", ["text", "csv", "official folders"])
def test_celeba(tmp_path: Path, form: str):
    source = make_celeba(tmp_path / "data", as_csv=form == "csv")
    if form == "official folders":
        for folder, name in (
            ("Anno", "list_attr_celeba.txt"),
            ("Eval", "list_eval_partition.txt"),
            ("Img", "img_align_celeba"),
        ):
            (source / folder).mkdir()
            shutil.move(source / name, source / folder / name)
    dataset = registered(Layout.CELEBA, source, tmp_path / "out")
    assert [group.name for group in dataset.info.groups()] == [
        "not blond, female",
        "not blond, male",
        "blond, female",
        "blond, male",
    ]
    for split in SPLITS:
        assert dataset.info.group_counts(split).tolist() == [3, 3, 3, 3]
        for image, g in zip(dataset.examples(split), dataset.info.group_index(split), strict=True):
            pixels = np.asarray(image, float)
            # How the pictures were made: the channel of the attribute is brighter, and the middle for class 1.
            assert pixels[..., g % 2].mean() > pixels[..., 1 - g % 2].mean() + 50
            assert (pixels[5:11, 5:11].mean() > pixels[:3].mean() + 40) == (g // 2 == 1)


def test_civilcomments(tmp_path: Path):
    source = make_civilcomments(tmp_path / "data")
    dataset = registered(Layout.CIVILCOMMENTS, source, tmp_path / "out")
    with (source / "all_data_with_identities.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    info = dataset.info
    assert [group.name for group in info.groups()] == [
        "not toxic, no identity",
        "not toxic, any identity",
        "toxic, no identity",
        "toxic, any identity",
    ]
    assert [attribute.name for attribute in info.attributes] == ["identity", *IDENTITIES]
    assert len(info.masks) == 16
    for split in SPLITS:
        expected = [line for line in lines if line["split"] == split]
        labels = info.split(split)
        assert labels.row_id.tolist() == [int(line[""]) for line in expected]
        assert list(dataset.examples(split)) == [line["comment_text"] for line in expected]
        toxic = np.array([float(line["toxicity"]) >= 0.5 for line in expected])
        assert labels.y.tolist() == toxic.astype(int).tolist()
        mentions = np.array([[float(line[name]) >= 0.5 for name in IDENTITIES] for line in expected])
        assert np.array_equal(labels.a, np.column_stack([mentions.any(axis=1), mentions]))
        for name, mask in zip(info.masks, labels.masks.T, strict=True):
            identity, verdict = name.split(", ")
            right = mentions[:, IDENTITIES.index(identity)] & (toxic == (verdict == "toxic"))
            assert np.array_equal(mask, right), name
        assert (labels.masks.sum(axis=1) > 1).any(), "the masks of these comments overlap"


def test_multinli(tmp_path: Path):
    source = make_multinli(tmp_path / "data")
    dataset = registered(Layout.MULTINLI, source, tmp_path / "out")
    sentences = [json.loads(line) for name in MULTINLI_FILES for line in (source / name).read_text().splitlines()]
    assert sum(sentence["gold_label"] == "-" for sentence in sentences) > 5
    total = 0
    for split in SPLITS:
        labels = dataset.info.split(split)
        for row_id, y, a, pair in zip(labels.row_id, labels.y, labels.a[:, 0], dataset.examples(split), strict=True):
            sentence = sentences[row_id]
            assert pair == (sentence["sentence1"], sentence["sentence2"])
            assert LABELS[y] == sentence["gold_label"]
            assert a == ("Never" in sentence["sentence2"])
        total += len(labels)
    assert total == 3 * 3 * 6
    assert dataset.info.notes[0].text.startswith("train: contradiction, no negation 3, published 57498; ")
    for folder in ("data", "multinli_1.0"):
        (source / folder).mkdir()
    shutil.move(source / "metadata_random.csv", source / "data/metadata_random.csv")
    for name in MULTINLI_FILES:
        shutil.move(source / name, source / "multinli_1.0" / name)
    assert np.array_equal(read(Layout.MULTINLI, source).y, read(Layout.MULTINLI, source / "data/metadata_random.csv").y)


def test_notes_of_datasets_registered_before_there_were_kinds_are_read(tmp_path: Path):
    source = make_multinli(tmp_path / "data")
    dataset = registered(Layout.MULTINLI, source, tmp_path / "out")
    directory = tmp_path / "out" / dataset.info.digest
    stored = json.loads((directory / "registration.json").read_text())
    texts = [note["text"] for note in stored["notes"]]
    (directory / "registration.json").write_text(sealed_text(stored | {"notes": texts}))
    assert RegisteredDataset(directory).info.notes == dataset.info.notes


def test_negations_are_words_of_the_hypothesis():
    texts = [
        "No.",
        "no",
        "I know nothing!",
        "noone",
        "no-one",
        "Nobody's",
        "NEVER again",
        "a\nno b",
        "it's a no, sir",
        "",
    ]
    found = has_negation(pa.array(texts, pa.large_string()))
    words = ("nobody", "no", "never", "nothing")
    punctuation = str.maketrans("", "", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    expected = [any(word in text.translate(punctuation).lower().split(" ") for word in words) for text in texts]
    assert found.tolist() == expected
    assert sum(expected) == 5


# Published counts.


def of_groups(counts: dict[str, list[int]], shuffled: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Split and group of every example of a whole dataset, in no order."""
    split = np.concatenate([np.full(sum(counts[name]), i) for i, name in enumerate(SPLITS)])
    group = np.concatenate([np.repeat(np.arange(len(counts[name])), counts[name]) for name in SPLITS])
    order = np.random.default_rng(0).permutation(len(split))
    return (split[order], group[order]) if shuffled else (split, group)


def whole_waterbirds(directory: Path) -> None:
    split, group = of_groups(PUBLISHED["waterbirds"])
    columns = {
        "img_id": np.arange(len(split)),
        "img_filename": [f"{i}.jpg" for i in range(len(split))],
        "y": group // 2,
        "split": split,
        "place": group % 2,
    }
    pyarrow.csv.write_csv(pa.table(columns), directory / "metadata.csv")


def whole_celeba(directory: Path) -> None:
    split, group = of_groups(PUBLISHED["celeba"])
    (directory / "img_align_celeba").mkdir()
    blond, male = CELEBA_ATTRIBUTES.index("Blond_Hair"), CELEBA_ATTRIBUTES.index("Male")
    rests: list[str] = []
    for g in range(4):
        values = ["-1"] * 40
        values[blond], values[male] = ("-1", " 1")[g // 2], ("-1", " 1")[g % 2]
        rests.append(" ".join(values))
    lines = [f"{i:06d}.jpg {rests[g]}" for i, g in enumerate(group.tolist())]
    head = [str(len(lines)), " ".join(CELEBA_ATTRIBUTES) + " "]
    (directory / "list_attr_celeba.txt").write_text("\n".join([*head, *lines]) + "\n")
    (directory / "list_eval_partition.txt").write_text("".join(f"{i:06d}.jpg {s}\n" for i, s in enumerate(split)))


def whole_civilcomments(directory: Path, n_rows: int | None = None, words: int = 4) -> None:
    split, group = of_groups(PUBLISHED["civilcomments"])
    n = len(split)
    rng = np.random.default_rng(1)
    shares = rng.uniform(0, 0.49, (n, 8)).round(4)
    shares[np.arange(n), rng.integers(0, 8, n)] += 0.5 * (group % 2)
    texts = [f'Comment {i} says "well" and\ngoes on{" and on" * (i % words)}.' for i in range(n)]
    columns = {"": np.arange(n), "id": np.arange(n) + 59848, "comment_text": texts, "split": np.array(SPLITS)[split]}
    columns |= {"toxicity": rng.uniform(0, 0.49, n).round(4) + 0.5 * (group // 2)}
    columns |= {name: shares[:, i] for i, name in enumerate(IDENTITIES)}
    pyarrow.csv.write_csv(pa.table(columns).slice(0, n_rows), directory / "all_data_with_identities.csv")


def whole_multinli(directory: Path) -> None:
    split, group = of_groups(PUBLISHED["multinli"])
    n = len(split)
    columns = {"": np.arange(n), "gold_label": group // 2, "sentence2_has_negation": group % 2, "split": split}
    pyarrow.csv.write_csv(pa.table(columns), directory / "metadata_random.csv")
    lines = [
        f'{{"gold_label":"{LABELS[g // 2]}","sentence1":"A","sentence2":"{("yes", "no")[g % 2]}"}}\n' for g in group
    ]
    for name, first, last in zip(MULTINLI_FILES, (0, n - 200, n - 100), (n - 200, n - 100, n), strict=True):
        (directory / name).write_text("".join(lines[first:last]))


WHOLE = {
    Layout.WATERBIRDS: whole_waterbirds,
    Layout.CELEBA: whole_celeba,
    Layout.CIVILCOMMENTS: whole_civilcomments,
    Layout.MULTINLI: whole_multinli,
}


@pytest.mark.parametrize("layout", list(WHOLE))
def test_a_whole_copy_has_the_published_counts_and_no_notes(tmp_path: Path, layout: Layout):
    WHOLE[layout](tmp_path)
    rows = read(layout, tmp_path)
    assert rows.notes == ()
    for split, counts in PUBLISHED[layout].items():
        assert rows.group_counts(split).tolist() == counts


def test_270000_comments_are_parsed_and_grouped_beside_a_bare_reader(tmp_path: Path):
    """From the file (13 columns, 300 bytes a row) to split, class, nine attributes and 16 masks of every row.

    Processor time of both reading and grouping beside Python's own reader of the same file, which is two to five times
    quicker; storing is not timed, and there are no images to be checked.
    """
    whole_civilcomments(tmp_path, 270_000, words=50)
    file = tmp_path / "all_data_with_identities.csv"
    assert file.stat().st_size > 270_000 * 290
    started = time.process_time()
    rows = read(Layout.CIVILCOMMENTS, tmp_path)
    counts = rows.group_counts("train")
    ended = time.process_time()
    with file.open(newline="", encoding="utf-8") as opened:
        assert sum(1 for _ in csv.reader(opened)) == 1 + len(rows) == 270_001
    bare = time.process_time() - ended
    assert counts.min() > 7000
    assert ended - started < 8 * bare


def test_every_layout_of_the_wire_has_a_module_and_stands_in_the_manuals():
    assert PUBLISHED_LAYOUTS[:4] == ("waterbirds", "celeba", "civilcomments", "multinli")
    for path, content in documents().items():
        assert content == path.read_text(encoding="utf-8"), "run `make protos` and commit"
        for name in LAYOUTS if path == HELP else PUBLISHED_LAYOUTS:
            assert layout_of(name).files.split(", ")[0] in content
