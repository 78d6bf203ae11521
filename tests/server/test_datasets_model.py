"""Labels, groups and names of a dataset."""

import numpy as np
import pytest

from penult_proto.errors import ErrorKind
from penult_server.datasets.model import Attribute, DatasetInfo, SplitLabels
from penult_server.errors import ServiceError


def labels(y: list[int], a: list[list[int]]) -> SplitLabels:
    return SplitLabels(
        row_id=np.arange(len(y), dtype=np.uint64),
        y=np.array(y, np.int64),
        a=np.array(a, np.int64).reshape(len(y), 2),
    )


@pytest.fixture
def info() -> DatasetInfo:
    return DatasetInfo(
        name="birds",
        digest="0" * 64,
        modality="image",
        classes=("land", "water"),
        attributes=(
            Attribute(name="place", values=("forest", "lake", "sky")),
            Attribute(name="camera", values=("old", "new")),
        ),
        splits={
            "train": labels([0, 0, 1, 1, 1], [[0, 1], [0, 0], [2, 1], [1, 1], [2, 0]]),
            "test": labels([], []),
        },
        description="",
    )


def test_groups_are_class_major(info: DatasetInfo):
    groups = info.groups("place")
    assert [group.index for group in groups] == list(range(6))
    assert all(group.index == group.y * 3 + group.a for group in groups)
    assert groups[4].name == "water, lake"
    assert (groups[4].class_name, groups[4].attribute_value) == ("water", "lake")


@pytest.mark.parametrize("attribute", ["", "place", "camera"])
def test_group_counts_agree_with_counting_one_by_one(info: DatasetInfo, attribute: str):
    column = info.attribute_column(attribute)
    train = info.split("train")
    expected = [
        sum(1 for y, a in zip(train.y, train.a[:, column], strict=True) if (y, a) == (group.y, group.a))
        for group in info.groups(attribute)
    ]
    counts = info.group_counts("train", attribute)
    assert counts.dtype == np.int64
    assert counts.tolist() == expected
    assert counts.sum() == len(train)


def test_an_empty_split_has_empty_groups(info: DatasetInfo):
    assert info.group_counts("test").tolist() == [0] * 6
    assert info.group_index("test").shape == (0,)


def test_attribute_columns(info: DatasetInfo):
    assert [info.attribute_column(name) for name in ("", "place", "camera")] == [0, 0, 1]
    with pytest.raises(ServiceError, match="has no attribute 'lens'; it has: place, camera") as raised:
        info.group_counts("train", "lens")
    assert raised.value.kind is ErrorKind.ATTRIBUTE_MISSING


def test_unknown_split_lists_the_known(info: DatasetInfo):
    with pytest.raises(ServiceError, match="known: train, test") as raised:
        info.split("val")
    assert raised.value.kind is ErrorKind.UNKNOWN_SPLIT


def test_labels_are_read_only_copies():
    y = np.array([0, 1])
    split = SplitLabels(row_id=np.arange(2, dtype=np.uint64), y=y, a=np.array([[0], [1]]))
    y[0] = 7
    assert split.y.tolist() == [0, 1]
    for array in (split.row_id, split.y, split.a):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_labels_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="got"):
        SplitLabels(row_id=np.arange(3, dtype=np.uint64), y=np.zeros(2, int), a=np.zeros((2, 1), int))


def test_masks_overlap_and_default_to_none(info: DatasetInfo):
    assert info.masks == ()
    assert info.split("train").masks.shape == (5, 0)
    given = np.array([[True, True], [True, False], [False, False]])
    split = SplitLabels(row_id=np.arange(3, dtype=np.uint64), y=np.zeros(3, int), a=np.zeros((3, 1), int), masks=given)
    given[0] = False
    assert split.masks.tolist() == [[True, True], [True, False], [False, False]], "a copy"
    with pytest.raises(ValueError, match="read-only"):
        split.masks[0, 0] = False


@pytest.mark.parametrize("masks", [np.zeros((2, 1), bool), np.zeros((3, 1), int), np.zeros(3, bool)])
def test_masks_of_another_shape_or_type_are_refused(masks: np.ndarray):
    with pytest.raises(ValueError, match=r"expected masks \(3, M\) of bool"):
        SplitLabels(row_id=np.arange(3, dtype=np.uint64), y=np.zeros(3, int), a=np.zeros((3, 1), int), masks=masks)
