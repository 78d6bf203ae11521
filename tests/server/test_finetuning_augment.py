"""Random crops against torchvision's, and what is drawn."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from penult_server.backbones.images.preprocessing import ImagePreprocessing
from penult_server.backbones.inputs import SplitInputs
from penult_server.finetuning.augment import RATIOS, TRIES, TrainingInputs, crop_box
from penult_server.finetuning.config import FinetuneConfig

CONFIG = FinetuneConfig(backbone="test_vit", epochs=1, crop_scale=0.7)
PREPROCESSING = ImagePreprocessing(size=24, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
IMAGES = list(np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8))


def inputs_of(config: FinetuneConfig) -> TrainingInputs:
    return TrainingInputs(IMAGES, SplitInputs(IMAGES, PREPROCESSING), PREPROCESSING, config)


@given(width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 1000), scale=st.floats(0.01, 0.99))
def test_a_crop_lies_inside_the_image(width: int, height: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    left, top, w, h = crop_box(width, height, rng.uniform(scale, 1, TRIES), rng.uniform(*RATIOS, TRIES), rng.random(2))
    assert 0 <= left <= left + w <= width
    assert 0 <= top <= top + h <= height
    assert min(w, h) >= 1


def test_crops_are_distributed_as_torchvision_s() -> None:
    """Mean and spread of position and size over 20,000 crops of one wide image."""
    n = 20_000
    drawn = inputs_of(CONFIG).draw(n, np.random.default_rng(1))
    ours = np.array([crop_box(200, 120, *one) for one in zip(drawn.areas, drawn.ratios, drawn.places, strict=True)])
    image = torch.empty(3, 120, 200)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        theirs = np.array([RandomResizedCrop.get_params(image, [0.7, 1.0], list(RATIOS)) for _ in range(n)])
    theirs = theirs[:, [1, 0, 3, 2]]
    error = theirs.std(axis=0) * np.sqrt(2 / n)
    assert np.all(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * error + 1e-9)
    assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.05)


def test_a_crop_is_resized_and_flipped_as_by_torchvision() -> None:
    inputs = inputs_of(CONFIG)
    drawn = inputs.draw(3, np.random.default_rng(2))
    rows = np.array([2, 0, 1])
    got = inputs.take(rows, drawn)
    assert {bool(flip) for flip in drawn.flips} == {True, False}
    for item, row, index in zip(got, rows, range(3), strict=True):
        left, top, w, h = crop_box(60, 40, drawn.areas[index], drawn.ratios[index], drawn.places[index])
        image = Image.fromarray(IMAGES[row])
        expected = np.asarray(resized_crop(image, top, left, h, w, [24, 24], InterpolationMode.BICUBIC))
        assert_array_equal(item, expected[:, ::-1] if drawn.flips[index] else expected)


def test_without_crops_and_flips_examples_are_those_of_the_evaluation() -> None:
    inputs = inputs_of(replace(CONFIG, crop_scale=0.0, flip=False))
    drawn = inputs.draw(3, np.random.default_rng(2))
    for item, image in zip(inputs.take(np.arange(3), drawn), IMAGES, strict=True):
        assert_array_equal(item, PREPROCESSING.prepare(image))
    assert inputs.threads == 1


def test_an_image_that_no_drawn_shape_fits_is_cropped_in_the_middle() -> None:
    wide = crop_box(300, 30, np.full(TRIES, 0.99), np.ones(TRIES), np.zeros(2))
    assert wide == (130, 0, 40, 30)
