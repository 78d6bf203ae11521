"""Copies of published datasets with something wrong: an error that names file and row, at registration."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from published_data import MAKERS, MULTINLI_FILES, Layout, make_celeba, make_multinli, read, registered

from penult_proto.errors import ErrorKind
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.reading import read_layout
from penult_server.errors import ServiceError


def replaced(name: str, old: str, new: str, count: int = -1) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        text = (directory / name).read_text()
        assert old in text
        (directory / name).write_text(text.replace(old, new, count))

    return change


def lines_changed(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        lines = (directory / name).read_text().splitlines()
        (directory / name).write_text("\n".join(change(lines)) + "\n")

    return apply


def without(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


META, ATTR, PART = "metadata.csv", "list_attr_celeba.txt", "list_eval_partition.txt"
CIVIL, RANDOM, TRAIN_LINES = "all_data_with_identities.csv", "metadata_random.csv", MULTINLI_FILES[0]
BROKEN: dict[str, tuple[Layout, Callable[[Path], None], ErrorKind, str]] = {
    "no metadata": (Layout.WATERBIRDS, without(META), ErrorKind.FILES_MISSING, "holds none of: metadata.csv"),
    "no column": (
        Layout.WATERBIRDS,
        replaced(META, ",place,", ",background,"),
        ErrorKind.BAD_TABLE,
        "metadata.csv has no column 'place'; got: 'img_id', 'img_filename', 'y', 'split', 'background'",
    ),
    "unknown label": (
        Layout.WATERBIRDS,
        replaced(META, "0002.jpg,0,1", "0002.jpg,2,1"),
        ErrorKind.BAD_TABLE,
        r"row 3 of metadata.csv: 'y' is '2'; expected one of 0, 1 \(landbird, waterbird\)",
    ),
    "label with a fraction": (
        Layout.WATERBIRDS,
        replaced(META, "0002.jpg,0,1", "0002.jpg,0.5,1"),
        ErrorKind.BAD_TABLE,
        "row 3 of metadata.csv: 'y' is '0.5'; expected one of 0, 1",
    ),
    "empty label": (
        Layout.WATERBIRDS,
        replaced(META, "0002.jpg,0,1", "0002.jpg,,1"),
        ErrorKind.BAD_TABLE,
        "row 3 of metadata.csv: 'y' is empty",
    ),
    "NaN label": (
        Layout.WATERBIRDS,
        replaced(META, "0002.jpg,0,1", "0002.jpg,nan,1"),
        ErrorKind.BAD_TABLE,
        "row 3 of metadata.csv: 'y' is 'nan', a missing number",
    ),
    "no split": (
        Layout.WATERBIRDS,
        replaced(META, "0002.jpg,0,1", "0002.jpg,0,3"),
        ErrorKind.BAD_TABLE,
        r"row 3 of metadata.csv: 'split' is '3'; expected one of 0, 1, 2 \(train, val, test\)",
    ),
    "duplicate id": (
        Layout.WATERBIRDS,
        replaced(META, "\n2,", "\n1,"),
        ErrorKind.BAD_TABLE,
        "row 3 of metadata.csv: 'img_id' repeats 1 of row 2; ids are unique",
    ),
    "no id": (
        Layout.WATERBIRDS,
        replaced(META, "\n2,", "\n2b,"),
        ErrorKind.BAD_TABLE,
        "row 3 of metadata.csv: 'img_id' is '2b'; expected a whole number",
    ),
    "same file": (
        Layout.WATERBIRDS,
        replaced(META, "Bird_0002", "Bird_0001"),
        ErrorKind.BAD_TABLE,
        "row 3 of metadata.csv repeats the file .*Bird_0001.jpg' of row 2",
    ),
    "missing images": (
        Layout.WATERBIRDS,
        lambda directory: shutil.rmtree(directory / "001.Black_footed_Albatross"),
        ErrorKind.FILES_MISSING,
        "row 8 of metadata.csv: '001.Black_footed_Albatross/Bird_0007.jpg' cannot be read: No such file or directory; "
        "17 other files",
    ),
    "corrupt image": (
        Layout.WATERBIRDS,
        lambda directory: (directory / "064.Ring_billed_Gull/Bird_0003.jpg").write_bytes(b"<html>404</html>"),
        ErrorKind.CORRUPT_IMAGE,
        "row 4 of metadata.csv: '064.Ring_billed_Gull/Bird_0003.jpg' is no image that can be decoded: it begins",
    ),
    "short row": (
        Layout.WATERBIRDS,
        lines_changed(META, lambda lines: [*lines[:4], "5,x.jpg,0", *lines[5:]]),
        ErrorKind.BAD_TABLE,
        "row 5 of metadata.csv has 3 fields, the header has 6",
    ),
    "empty group": (
        Layout.WATERBIRDS,
        lines_changed(META, lambda lines: [line for line in lines if ",1,0,0," not in line]),
        ErrorKind.EMPTY_GROUP,
        "the split 'train' has no example of: waterbird, land; list a partial copy in a table of its own",
    ),
    "empty split": (
        Layout.WATERBIRDS,
        lines_changed(META, lambda lines: [line for line in lines if ",2,0," not in line and ",2,1," not in line]),
        ErrorKind.BAD_TABLE,
        "no row is in the split 'test'",
    ),
    "no attributes": (
        Layout.CELEBA,
        without(ATTR),
        ErrorKind.FILES_MISSING,
        "list_attr_celeba.txt, list_attr_celeba.csv",
    ),
    "no images": (
        Layout.CELEBA,
        lambda directory: shutil.rmtree(directory / "img_align_celeba"),
        ErrorKind.FILES_MISSING,
        "holds none of: img_align_celeba/img_align_celeba, img_align_celeba",
    ),
    "one image": (
        Layout.CELEBA,
        without("img_align_celeba/000005.jpg"),
        ErrorKind.FILES_MISSING,
        "line 7 of list_attr_celeba.txt: '000005.jpg' cannot be read",
    ),
    "in no split": (
        Layout.CELEBA,
        lines_changed(PART, lambda lines: lines[:-4] + lines[-3:]),
        ErrorKind.BAD_TABLE,
        "line 6 of list_attr_celeba.txt: '000004.jpg' stands in no split: list_eval_partition.txt does not name it",
    ),
    "without attributes": (
        Layout.CELEBA,
        lines_changed(ATTR, lambda lines: lines[:-1]),
        ErrorKind.BAD_TABLE,
        "line 1 of list_eval_partition.txt: '000036.jpg' has no attributes",
    ),
    "image twice": (
        Layout.CELEBA,
        replaced(ATTR, "000003.jpg", "000002.jpg"),
        ErrorKind.BAD_TABLE,
        "line 5 of list_attr_celeba.txt: 'image_id' repeats 000002.jpg of line 4",
    ),
    "unknown attribute": (
        Layout.CELEBA,
        lines_changed(ATTR, lambda lines: [*lines[:3], lines[3].replace("-1", " 0"), *lines[4:]]),
        ErrorKind.BAD_TABLE,
        "line 4 of list_attr_celeba.txt: 'Blond_Hair' is '0'; expected one of -1, 1",
    ),
    "words missing": (
        Layout.CELEBA,
        lines_changed(ATTR, lambda lines: [*lines[:9], lines[9][:-6], *lines[10:]]),
        ErrorKind.BAD_TABLE,
        "line 10 of list_attr_celeba.txt has 39 words, expected 41",
    ),
    "no count": (
        Layout.CELEBA,
        lines_changed(ATTR, lambda lines: lines[1:]),
        ErrorKind.BAD_TABLE,
        "line 1 of list_attr_celeba.txt is no number; expected that of the images",
    ),
    "partition of words": (
        Layout.CELEBA,
        replaced(PART, "000002.jpg 1", "000002.jpg train"),
        ErrorKind.BAD_TABLE,
        "line 35 of list_eval_partition.txt: 'partition' is 'train'; expected one of 0, 1, 2",
    ),
    "no index": (
        Layout.CIVILCOMMENTS,
        replaced(CIVIL, ",id,", "index,id,", 1),
        ErrorKind.BAD_TABLE,
        r"has no column '' \(the unnamed index\); got: 'index', 'id'",
    ),
    "empty toxicity": (
        Layout.CIVILCOMMENTS,
        replaced(CIVIL, "2017-01-01,0.5,", "2017-01-01,,", 1),
        ErrorKind.BAD_TABLE,
        "row 8 of all_data_with_identities.csv: 'toxicity' is ''; expected a number",
    ),
    "NaN identity": (
        Layout.CIVILCOMMENTS,
        replaced(CIVIL, ",0.0,0.0,0.0,0.5,1.0", ",0.0,0.0,0.0,NaN,1.0", 1),
        ErrorKind.BAD_TABLE,
        "'christian' is 'NaN'; expected a number",
    ),
    "words for numbers": (
        Layout.CIVILCOMMENTS,
        replaced(CIVIL, "2017-01-01,0.5,", "2017-01-01,high,", 1),
        ErrorKind.BAD_TABLE,
        "row 8 of all_data_with_identities.csv: 'toxicity' is 'high'; expected a number",
    ),
    "other split": (
        Layout.CIVILCOMMENTS,
        replaced(CIVIL, ",val,", ",dev,", 1),
        ErrorKind.BAD_TABLE,
        "row 3 of all_data_with_identities.csv: 'split' is 'dev'; expected one of train, val, test",
    ),
    "unescaped quote": (
        Layout.CIVILCOMMENTS,
        replaced(CIVIL, '""fine""', '"fine"', 1),
        ErrorKind.BAD_TABLE,
        "all_data_with_identities.csv is no CSV file: line 2",
    ),
    "duplicate comment": (
        Layout.CIVILCOMMENTS,
        replaced(CIVIL, "\n14,", "\n7,"),
        ErrorKind.BAD_TABLE,
        "row 4 of all_data_with_identities.csv: '' repeats 7 of row 3",
    ),
    "no sentences": (
        Layout.MULTINLI,
        without(TRAIN_LINES),
        ErrorKind.FILES_MISSING,
        "multinli_1.0/multinli_1.0_train.jsonl",
    ),
    "sentences in another order": (
        Layout.MULTINLI,
        lines_changed(TRAIN_LINES, lambda lines: lines[::-1]),
        ErrorKind.BAD_TABLE,
        "row 2 of metadata_random.csv: its label is 'contradiction', but line 2 of multinli_1.0_train.jsonl, which its "
        "index 1 counts to, is labelled .* not the files that the table was made from",
    ),
    "sentences cut short": (
        Layout.MULTINLI,
        lines_changed(MULTINLI_FILES[2], lambda lines: lines[:-1]),
        ErrorKind.BAD_TABLE,
        "row 55 of metadata_random.csv: the index 64 lies beyond the 64 lines of",
    ),
    "broken line": (
        Layout.MULTINLI,
        lines_changed(TRAIN_LINES, lambda lines: [*lines[:3], lines[3][:30], *lines[4:]]),
        ErrorKind.BAD_TABLE,
        "line 4 of multinli_1.0_train.jsonl is no JSON",
    ),
    "no hypothesis": (
        Layout.MULTINLI,
        replaced(TRAIN_LINES, '"sentence2"', '"sentence_2"', 1),
        ErrorKind.BAD_TABLE,
        "line 1 of multinli_1.0_train.jsonl: 'sentence2' is missing",
    ),
    "number for hypothesis": (
        Layout.MULTINLI,
        replaced(TRAIN_LINES, '"They did not."', "7", 1),
        ErrorKind.BAD_TABLE,
        "line 1 of multinli_1.0_train.jsonl is no object with texts in sentence1, sentence2, gold_label",
    ),
    "unknown label of a pair": (
        Layout.MULTINLI,
        replaced(RANDOM, "\n8,1,", "\n8,-,", 1),
        ErrorKind.BAD_TABLE,
        "of metadata_random.csv: 'gold_label' is '-'; expected one of 0, 1, 2, contradiction, entailment, neutral",
    ),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_copy_is_refused(tmp_path: Path, case: str):
    layout, change, kind, message = BROKEN[case]
    source = MAKERS[layout](tmp_path / "data")
    change(source)
    with pytest.raises(ServiceError, match=message) as raised:
        registered(layout, source, tmp_path / "out")
    assert raised.value.kind is kind
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there(tmp_path: Path):
    for layout in MAKERS:
        with pytest.raises(ServiceError, match=r"there is no .*nowhere on the server's machine") as raised:
            read(layout, tmp_path / "nowhere")
        assert raised.value.kind is ErrorKind.FILES_MISSING


def test_columns_are_named_for_tables_only(tmp_path: Path):
    with pytest.raises(
        ServiceError, match="layout='table', 'imagefolder' and 'huggingface' only; 'celeba' has its own"
    ) as raised:
        read_layout(Layout.CELEBA, make_celeba(tmp_path, images=False), Columns(y="Bald"), tmp_path / "unpacked")
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT


def test_what_is_odd_is_noted(tmp_path: Path):
    celeba = make_celeba(tmp_path / "celeba")
    lines_changed(ATTR, lambda lines: ["202599", *lines[1:]])(celeba)
    notes = [note.text for note in read(Layout.CELEBA, celeba).notes]
    assert "list_attr_celeba.txt lists 36 images, its first line says 202599" in notes
    multinli = make_multinli(tmp_path / "multinli")
    replaced(TRAIN_LINES, "Never! the", "It is the", 1)(multinli)
    assert any("sentence2_has_negation does not say" in note.text for note in read(Layout.MULTINLI, multinli).notes)
