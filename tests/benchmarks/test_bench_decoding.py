"""How many JPEG files a core decodes and brings to 224 pixels, and what other ways of doing so would give.

Their pixels are compared with ours: only what gives the same ones could take its place without another identity.
"""

import importlib.util
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from statistics import median

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from turns import seconds_in_turns

from penult_server.backbones.images.preprocessing import ImagePreprocessing
from penult_server.datasets.images import decode_image

PREPROCESSING = ImagePreprocessing(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
ROUNDS = 5

Decode = Callable[[bytes], NDArray[np.uint8]]


def photograph(width: int, height: int, rng: np.random.Generator) -> bytes:
    """A JPEG file of smooth colours with some grain."""
    coarse = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int64)
    grain = rng.integers(-12, 13, smooth.shape)
    file = BytesIO()
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def served(content: bytes) -> NDArray[np.uint8]:
    return PREPROCESSING.prepare(decode_image(content))


def by_pillow_alone(content: bytes, *, draft: bool = False) -> NDArray[np.uint8]:
    """Without an array between decoding and resizing; with `draft` the decoder scales by 1/2, 1/4 or 1/8 itself."""
    with Image.open(BytesIO(content)) as image:
        width, height = (int(256 * side / min(image.size)) for side in image.size)
        if draft:
            image.draft("RGB", (width, height))
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - 224) / 2), round((height - 224) / 2)
        return np.asarray(resized.crop((left, top, left + 224, top + 224)))


def by_torchvision(content: bytes) -> NDArray[np.uint8]:
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import functional

    pixels = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB)
    sides = [int(256 * side / min(pixels.shape[1:])) for side in pixels.shape[1:]]
    resized = functional.resize(pixels, sides, antialias=True)
    return functional.center_crop(resized, [224, 224]).permute(1, 2, 0).numpy()


def by_simplejpeg(content: bytes) -> NDArray[np.uint8]:
    import simplejpeg

    return PREPROCESSING.prepare(simplejpeg.decode_jpeg(content, fastdct=False, fastupsample=False))


def ways() -> dict[str, Decode]:
    found: dict[str, Decode] = {
        "served": served,
        "Pillow without an array between": by_pillow_alone,
        "the same with draft": lambda content: by_pillow_alone(content, draft=True),
    }
    if importlib.util.find_spec("torchvision"):
        found["torchvision"] = by_torchvision
    if importlib.util.find_spec("simplejpeg"):
        found["simplejpeg, then Pillow"] = by_simplejpeg
    return found


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
@pytest.mark.parametrize(("width", "height"), [(500, 375), (1600, 1200)])
def test_images_a_core_decodes(at_full_size: bool, width: int, height: int) -> None:
    """Processor time of one thread for each way; their largest and mean difference from ours."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    files = [photograph(width, height, rng) for _ in range(6 if at_full_size else 1)]
    expected = [served(content).astype(np.int64) for content in files]
    try:
        for name, decode in ways().items():
            differences = [np.abs(decode(content) - one) for content, one in zip(files, expected, strict=True)]
            taken: list[float] = []
            for _ in range(ROUNDS if at_full_size else 1):
                began = time.thread_time()
                for content in files:
                    decode(content)
                taken.append((time.thread_time() - began) / len(files))
            largest, mean = max(one.max() for one in differences), np.mean([one.mean() for one in differences])
            print(
                f"\n{width} x {height}, {name}: {1e3 * median(taken):.1f} ms, {1 / median(taken):.0f} images/s of a "
                f"core; differs by {largest} at most, {mean:.3f} on average",
                end="",
            )
            if name.startswith("Pillow"):
                assert largest == 0
    finally:
        torch.set_num_threads(threads)


def test_threads_decode_beside_each_other(at_full_size: bool) -> None:
    """As many threads as there are cores beside one: no processes are needed where they come close."""
    n_threads = os.cpu_count() or 1
    rng = np.random.default_rng(0)
    files = [photograph(500, 375, rng) for _ in range(8)] * (12 if at_full_size else 1)

    def decode(threads: int) -> None:
        with ThreadPoolExecutor(max_workers=threads) as pool:
            for _ in pool.map(served, files):
                pass

    one, many = seconds_in_turns(lambda: decode(1), lambda: decode(n_threads), rounds=ROUNDS if at_full_size else 1)
    gain = median(alone / beside for alone, beside in zip(one, many, strict=True))
    print(f"\n{n_threads} threads decode {gain:.2f} times as fast as one ({len(files) / median(many):.0f} images/s)")
