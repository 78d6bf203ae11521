"""Classes are matched by their names, exactly, or refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning_data import MemoryDataset, Recorder, squares
from hypothesis import given
from hypothesis import strategies as st

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.backbones.saving import load_checkpoint
from penult_server.class_names import Classes, match_classes
from penult_server.errors import ServiceError
from penult_server.extraction.extract import extract_split
from penult_server.extraction.identity import extraction_identity
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.errors_of import errors_of
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.train import finetune
from penult_server.stores.checkpoints import CheckpointManifest, read_manifest

CPU = torch.device("cpu")
CONFIG = FinetuneConfig(backbone="test_resnet", pretrained=False, epochs=1, batch_size=8, learning_rate=3e-3)


def known(*names: str, by_index: bool = False) -> Classes:
    return Classes(names=names, whose="the head", by_index=by_index)


def labels(*names: str, by_index: bool = False) -> Classes:
    return Classes(names=names, whose="the set", by_index=by_index)


@given(st.permutations(["ant", "bee", "cat", "dog", "emu"]), st.permutations(["ant", "bee", "cat", "dog", "emu"]))
def test_any_order_of_the_same_names(first: list[str], second: list[str]) -> None:
    match = match_classes(known(*first), labels(*second))
    values = np.arange(10.0).reshape(5, 2)
    for place, name in enumerate(second):
        np.testing.assert_array_equal(match.rows(values)[place], values[first.index(name)])
        np.testing.assert_array_equal(match.columns(values.T)[:, place], values[first.index(name)])
    assert [note.id for note in match.notes] == ([] if first == second else [NoteId.CLASSES_MAPPED])


def test_a_mapping_renames_at_once_not_in_turn() -> None:
    match = match_classes(known("cat", "dog"), labels("cat", "dog"), {"cat": "dog", "dog": "cat"})
    assert match.order.tolist() == [1, 0]
    assert "cat -> dog, dog -> cat" in match.notes[0].text
    assert match_classes(known("cat", "dog"), labels("dog", "wolf"), {"cat": "wolf"}).order.tolist() == [1, 0]


def test_classes_without_names_go_by_their_index_and_say_so() -> None:
    for one, other in (
        (known("0", "1", by_index=True), labels("cat", "dog")),
        (known("cat", "dog"), labels("0", "1", by_index=True)),
        (known("0", "1", by_index=True), labels("0", "1", by_index=True)),
    ):
        match = match_classes(one, other)
        assert match.order.tolist() == [0, 1]
        assert [note.id for note in match.notes] == [NoteId.CLASSES_BY_COUNT]
    # A mapping calls them by their index.
    match = match_classes(known("0", "1", by_index=True), labels("cat", "dog"), {"0": "dog", "1": "cat"})
    assert match.order.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("one", "other", "class_map", "words"),
    [
        (known("cat", "dog"), labels("dog", "wolf"), {}, ["cat, dog", "dog, wolf", "class_map"]),
        (known("cat", "dog"), labels("cat", "dog", "wolf"), {}, ["cat, dog, wolf"]),
        (known("cat", "dog"), labels("dog", "wolf"), {"lion": "wolf"}, ["lion", "cat, dog"]),
        (known("cat", "dog"), labels("dog", "wolf"), {"cat": "lion"}, ["lion", "dog, wolf"]),
        (known("cat", "dog"), labels("dog", "wolf"), {"cat": "dog"}, ["dog, dog", "after class_map"]),
        (known("0", "1", by_index=True), labels("cat", "dog"), {"0": "dog"}, ["dog, 1"]),
        (known(*map(str, range(100))), labels(*map(str, range(1, 101))), {}, ["0, 1", "and 80 more"]),
    ],
)
def test_other_names_are_refused_naming_both(
    one: Classes, other: Classes, class_map: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(ServiceError) as caught:
        match_classes(one, other, class_map)
    assert caught.value.kind is ErrorKind.OTHER_CLASSES
    assert all(word in caught.value.message for word in words), caught.value.message


def test_without_names_the_counts_must_agree() -> None:
    with pytest.raises(ServiceError, match="also those without an example") as caught:
        match_classes(known("0", "1", by_index=True), labels("cat", "dog", "emu"))
    assert caught.value.kind is ErrorKind.WRONG_SHAPE


# Models


def turned(dataset: MemoryDataset) -> MemoryDataset:
    """The same examples, the same names, the classes in the other order."""
    info = dataset.info
    splits = {name: replace(split, y=1 - split.y) for name, split in info.splits.items()}
    return MemoryDataset(replace(info, classes=info.classes[::-1], splits=splits, digest="e" * 64), dataset.images)


def renamed(dataset: MemoryDataset) -> MemoryDataset:
    return MemoryDataset(replace(dataset.info, classes=("upper", "middle")), dataset.images)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def trained(root: Path) -> CheckpointManifest:
    return finetune(CONFIG, squares(), root=root, device=CPU, context=Recorder()).checkpoints[-1]


class Kept:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.parts: list[dict[str, np.ndarray]] = []

    def append(self, **arrays: np.ndarray) -> None:
        self.parts.append(arrays)

    def all(self, name: str) -> np.ndarray:
        return np.concatenate([part[name] for part in self.parts])


def test_logits_are_stored_in_the_order_of_the_dataset(root: Path, trained: CheckpointManifest) -> None:
    classifier = load_checkpoint(root, trained.digest, CPU)
    sinks: list[Kept] = []
    for dataset in (squares(), turned(squares())):
        match = match_classes(known(*trained.classes), labels(*dataset.info.classes))
        sinks.append(Kept())
        extract_split(
            classifier, dataset, "test", sinks[-1], device=CPU, batch_size=5, context=Recorder(), classes=match
        )
    plain, other = sinks
    np.testing.assert_array_equal(other.all("features"), plain.all("features"))
    np.testing.assert_array_equal(other.all("logits"), plain.all("logits")[:, ::-1])
    np.testing.assert_array_equal(other.all("y"), 1 - plain.all("y"))


def test_the_order_of_the_logits_is_part_of_their_identity(trained: CheckpointManifest) -> None:
    """Equal weights may be of checkpoints that call their classes otherwise."""
    same = match_classes(known(*trained.classes), labels(*trained.classes))
    other = match_classes(known(*trained.classes), labels(*trained.classes[::-1]))
    plain = extraction_identity(trained, "d" * 64, "test")
    assert extraction_identity(trained, "d" * 64, "test", classes=same) == plain
    assert extraction_identity(trained, "d" * 64, "test", classes=other) != plain


def test_errors_of_a_checkpoint_whose_classes_have_another_order(root: Path, trained: CheckpointManifest) -> None:
    def errors(dataset: MemoryDataset) -> tuple[list[int], list[NoteId]]:
        found = errors_of(trained.digest, dataset, root=root, device=CPU, check_cancelled=lambda: None)
        return found.rows.tolist(), [note.id for note in found.notes]

    rows, notes = errors(squares())
    assert 0 < len(rows) < 24
    assert notes == []
    assert errors(turned(squares())) == (rows, [NoteId.CLASSES_MAPPED])
    with pytest.raises(ServiceError, match=r"upper, lower.*upper, middle"):
        errors(renamed(squares()))


def test_a_run_that_repeats_errors_keeps_the_same_rows(root: Path, trained: CheckpointManifest) -> None:
    config = replace(CONFIG, epochs=0, objective=Objective(repeat_errors_of=trained.digest, repeat_errors=3))
    plain, other = (
        finetune(config, dataset, root=root, device=CPU, context=Recorder())
        for dataset in (squares(), turned(squares()))
    )
    np.testing.assert_array_equal(other.kept_row_ids, plain.kept_row_ids)
    assert plain.notes == ()
    assert [note.id for note in other.notes] == [NoteId.CLASSES_MAPPED]
    assert read_manifest(root, other.checkpoints[0].digest).classes == ("lower", "upper")
