"""The packaged dataset: its groups, its disjointness, and that it is always the same."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from penult_proto.errors import ErrorKind
from penult_server.datasets.footwear.compose import ALPHA_PER_LEVEL, BACKGROUND, blend, compose, silhouettes
from penult_server.datasets.footwear.dataset import FootwearDataset, footwear_info
from penult_server.datasets.footwear.files import (
    N_ITEMS,
    cut_sheet,
    file_digests,
    lay_sheet,
    read_items,
    read_photographs,
)
from penult_server.datasets.footwear.recipe import (
    GROUP_COUNTS,
    HALF_WIDTH,
    IMAGE_SIZE,
    N_FIT,
    PHOTO_SIZE,
    plans,
)
from penult_server.errors import ServiceError

DIGEST = "c35a3175f4d1f073ac4ae64d04b70ecd667337f3fbaeae65f7b4c964bc566275"


def test_groups_have_exactly_the_sizes_of_the_recipe():
    info = footwear_info()
    assert list(info.splits) == ["train", "val", "test"]
    for split, counts in GROUP_COUNTS.items():
        assert info.group_counts(split, "ground").tolist() == list(counts)
    assert [group.name for group in info.groups()] == [
        "sneaker, grass",
        "sneaker, gravel",
        "ankle boot, grass",
        "ankle boot, gravel",
    ]


def test_row_ids_are_unique_over_the_splits():
    row_id = np.concatenate([labels.row_id for labels in footwear_info().splits.values()])
    assert np.array_equal(row_id, np.arange(3400))


def test_every_object_is_used_once_and_has_the_class_of_its_pool():
    items = {split: plan.item for split, plan in plans().items()}
    assert np.array_equal(np.sort(np.concatenate(list(items.values()))), np.arange(N_ITEMS))
    assert max(items["train"].max(), items["val"].max()) < 2 * N_FIT <= items["test"].min()
    fit = np.concatenate([items["train"], items["val"]])
    fit_y = np.concatenate([plans()["train"].y, plans()["val"].y])
    assert np.array_equal(fit_y, fit // N_FIT)


def test_no_two_objects_have_the_same_pixels():
    items = read_items()
    assert items.shape == (N_ITEMS, 28, 28)
    assert len({item.tobytes() for item in items}) == N_ITEMS


def test_the_test_split_stands_on_the_other_half_of_the_photographs():
    for split, plan in plans().items():
        first, last = (HALF_WIDTH, PHOTO_SIZE) if split == "test" else (0, HALF_WIDTH)
        assert plan.crop_left.min() >= first
        assert plan.crop_left.max() + IMAGE_SIZE <= last
        assert plan.crop_top.min() >= 0
        assert plan.crop_top.max() + IMAGE_SIZE <= PHOTO_SIZE


@pytest.mark.parametrize("split", list(GROUP_COUNTS))
def test_images_do_not_depend_on_pixels_of_other_halves_or_pools(split: str):
    items, photographs = read_items(), read_photographs()
    expected = compose(plans()[split], items, photographs)
    held_out = np.arange(N_ITEMS) >= 2 * N_FIT
    foreign = ~held_out if split == "test" else held_out
    spoiled_items = np.where(foreign[:, np.newaxis, np.newaxis], np.uint8(255), items)
    half = slice(0, HALF_WIDTH) if split == "test" else slice(HALF_WIDTH, None)
    grass, gravel = (photo.copy() for photo in photographs)
    grass[:, half] = gravel[:, half] = 0
    assert np.array_equal(compose(plans()[split], spoiled_items, (grass, gravel)), expected)


def test_corners_show_the_ground_and_the_object_covers_it():
    plan, items, photographs = plans()["val"], read_items(), read_photographs()
    images = compose(plan, items, photographs)
    bare = compose(plan, np.zeros_like(items), photographs)
    for i in range(len(images)):
        top, left = plan.crop_top[i], plan.crop_left[i]
        crop = photographs[int(plan.a[i])][top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
        assert np.array_equal(bare[i], crop)
        changed = np.abs(images[i].astype(int) - crop) > 10
        assert 0.05 < changed.mean() < 0.75
        outside = np.ones_like(changed)
        outside[plan.paste_top[i] : plan.paste_top[i] + 80, plan.paste_left[i] : plan.paste_left[i] + 80] = False
        assert not changed[outside].any()


def test_dark_parts_inside_an_object_are_opaque():
    item = np.zeros((1, 28, 28), np.uint8)
    item[0, 5:20, 5:20] = 200
    item[0, 9:12, 9:12] = 0
    item[0, 2, 2] = BACKGROUND
    item[0, 25, 25] = BACKGROUND + 1
    opacity = silhouettes(item)[0]
    expected = np.zeros((28, 28))
    expected[5:20, 5:20] = 255
    expected[25, 25] = ALPHA_PER_LEVEL
    assert np.array_equal(opacity, expected)


def test_blending_rounds_the_exact_mean():
    rng = np.random.default_rng(0)
    ground, item, opacity = rng.integers(0, 256, (3, 40, 40)).astype(np.uint8)
    weight = opacity.astype(float) / 255
    exact = weight * item + (1 - weight) * ground
    assert np.abs(blend(ground, item, opacity) - exact).max() <= 0.5 + 1e-9
    assert np.array_equal(blend(ground, item, np.zeros_like(opacity)), ground)
    assert np.array_equal(blend(ground, item, np.full_like(opacity, 255)), item)


def test_the_sheet_of_objects_is_cut_as_it_was_laid():
    items = np.random.default_rng(1).integers(0, 256, (300, 28, 28)).astype(np.uint8)
    sheet = lay_sheet(items)
    assert np.array_equal(sheet[28:56, 28:56], items[101])
    assert np.array_equal(cut_sheet(sheet), items)


def test_images_are_rgb_and_readable_like_any_sequence():
    examples = FootwearDataset().examples("val")
    first = examples[0]
    assert isinstance(first, np.ndarray)
    assert first.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert first.dtype == np.uint8
    assert len(examples) == len(list(examples)) == 400
    assert np.array_equal(examples[-1], examples[399])
    assert np.array_equal(examples[10:20][3], examples[13])
    with pytest.raises(IndexError):
        examples[400]
    first[:] = 0
    assert np.asarray(examples[0]).any(), "writing to an image must not reach the dataset"
    assert np.array_equal(pickle.loads(pickle.dumps(examples))[5], examples[5])


def test_the_digest_is_the_released_one_and_covers_the_photographs():
    assert footwear_info().digest == DIGEST
    # As published by scikit-image, which names its files by sha256.
    assert file_digests()["grass.png"] == "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"
    assert file_digests()["gravel.png"] == "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12"


def test_another_process_composes_the_same_images():
    program = (
        "import hashlib, sys\n"
        "from penult_server.datasets.footwear.dataset import FootwearDataset\n"
        "d = FootwearDataset()\n"
        "images = b''.join(x.tobytes() for x in d.examples('val'))\n"
        "print(d.info.digest, hashlib.sha256(images).hexdigest(), 'torch' in sys.modules)\n"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1
    digest, _, torch_imported = outputs.pop().split()
    assert digest == DIGEST
    assert torch_imported == "False"


def test_unknown_split_names_the_splits():
    with pytest.raises(ServiceError, match="train, val, test") as raised:
        FootwearDataset().examples("validation")
    assert raised.value.kind is ErrorKind.UNKNOWN_SPLIT
