"""From examples to what a model reads: images to normalised tensors, texts to token ids.

Two steps, so that the first can run in another thread and be kept: `prepare` turns one example into a small
integer array on the host, `to_batch` turns many of those into tensors on the device.
"""

# pyright: reportUnknownMemberType=false
# The tokenizers of transformers are untyped.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from penult_server.datasets.model import Example, Modality

Batch = Tensor | dict[str, Tensor]
"""Images (N, 3, S, S) float32; or texts: `input_ids` and `attention_mask`, for pairs also `token_type_ids`, all
(N, T) int64."""
Prepared = NDArray[np.uint8] | NDArray[np.int32]
"""One image (S, S, 3) uint8; the token ids (T,) of a text or pair; or (2, T), the ids of a pair and below them which of
its texts each token belongs to, 0 or 1, where tokenizer and model know such types."""

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def _sent(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on a device; to a GPU through pinned memory, so that nobody waits for the copy."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Preprocessing(Protocol):
    """How one kind of example reaches a model."""

    @property
    def modality(self) -> Modality: ...

    @property
    def identity(self) -> str:
        """Text that differs whenever the input of the model would differ."""
        ...

    @property
    def item_bytes(self) -> int:
        """Bytes that one prepared example takes at most."""
        ...

    def prepare(self, example: Example) -> Prepared: ...

    def to_batch(self, items: Sequence[Prepared], device: torch.device) -> Batch: ...

    def probe(self) -> list[Prepared]:
        """Two arbitrary prepared examples, to try a model with."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocessing:
    """Shorter side resized to `resize`, center crop to `size` x `size`, then (pixel / 255 - mean) / std per channel.

    Sizes and places are rounded as torchvision's Resize and CenterCrop round them, so that ``resize=256, size=224``
    gives the papers' pixels exactly.
    """

    size: int
    """Pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    """One of nearest, bilinear, bicubic, lanczos, box, hamming."""
    resize: int = 0
    """Pixels, at least `size`; 0 for `size`: then the crop keeps the whole shorter side."""

    @property
    def modality(self) -> Modality:
        return "image"

    @property
    def identity(self) -> str:
        resized = f" resize={self.resize}" if self.resize else ""
        return f"image size={self.size}{resized} {self.interpolation} centre crop mean={self.mean} std={self.std}"

    @property
    def item_bytes(self) -> int:
        return self.size * self.size * 3

    def prepare(self, example: Example) -> NDArray[np.uint8]:
        """The image as (size, size, 3) uint8."""
        pixels = np.asarray(example, dtype=np.uint8)
        height, width = pixels.shape[:2]
        shorter = self.resize or self.size
        if (height, width) == (self.size, self.size) and shorter == self.size:
            return pixels
        resized = (int(shorter * width / min(height, width)), int(shorter * height / min(height, width)))
        image = Image.fromarray(pixels).resize(resized, RESAMPLING[self.interpolation])
        left, top = (round((side - self.size) / 2) for side in resized)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def to_batch(self, items: Sequence[Prepared], device: torch.device) -> Tensor:
        """(N, 3, size, size) float32 in channels-last memory order, which convolutions on CPU want."""
        pixels = _sent(np.stack(items), device).to(torch.float32)
        # Along whole rows of pixels: an inner loop over three channels takes seven times as long, for the same bits.
        mean, std = (torch.tensor(one, device=device).mul_(255).repeat(self.size) for one in (self.mean, self.std))
        pixels.view(len(items), self.size, -1).sub_(mean).div_(std)
        return pixels.permute(0, 3, 1, 2)

    def probe(self) -> list[Prepared]:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8) for _ in range(2)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextPreprocessing:
    """Token ids with the tokenizer's special tokens, cut after `max_tokens`; batches padded on the right."""

    tokenizer: Any
    tokenizer_digest: str
    """sha256 over the tokenizer's files."""
    max_tokens: int
    pad_id: int
    pad_to: int = 0
    """Tokens that every batch is padded to at least."""
    reads_types: bool = False
    """Whether the model is told which text of a pair each token belongs to, where the tokenizer says so."""

    @property
    def modality(self) -> Modality:
        return "text"

    @property
    def identity(self) -> str:
        return f"text max_tokens={self.max_tokens} tokenizer={self.tokenizer_digest}"

    @property
    def item_bytes(self) -> int:
        return self.max_tokens * 2 * 4

    def prepare(self, example: Example) -> Prepared:
        """The token ids (T,), T in 1 .. `max_tokens`, or (2, T) of a pair; the longer text of a pair is cut first.

        Where the tokenizer adds none, an empty text is one token of padding.
        """
        return self.prepare_all([example])[0]

    def prepare_all(self, examples: Sequence[Example]) -> list[Prepared]:
        """`prepare` for one or more texts or pairs at once, which tokenizers do faster."""
        rows = [example if isinstance(example, tuple) else (str(example),) for example in examples]
        columns = [list(column) for column in zip(*rows, strict=True)]
        encoded = self.tokenizer(*columns, truncation=True, max_length=self.max_tokens)
        ids = [one or [self.pad_id] for one in encoded["input_ids"]]
        if len(columns) == 2 and self.reads_types and "token_type_ids" in encoded:
            types = [one or [0] for one in encoded["token_type_ids"]]
            return [np.asarray(pair, dtype=np.int32) for pair in zip(ids, types, strict=True)]
        return [np.asarray(one, dtype=np.int32) for one in ids]

    def to_batch(self, items: Sequence[Prepared], device: torch.device) -> dict[str, Tensor]:
        """Ids, mask and, of pairs, types, padded to the longest of the batch, or to `pad_to`."""
        lengths = [int(item.shape[-1]) for item in items]
        longest = max(*lengths, self.pad_to)
        mask: NDArray[np.bool_] = np.arange(longest) < np.array(lengths)[:, None]
        rows = np.concatenate([item.reshape(-1, item.shape[-1]) for item in items], axis=1)
        ids = np.full((len(items), longest), self.pad_id, dtype=np.int64)
        ids[mask] = rows[0]
        batch = {"input_ids": _sent(ids, device), "attention_mask": _sent(mask.astype(np.int64), device)}
        if len(rows) == 2:
            types = np.zeros((len(items), longest), dtype=np.int64)
            types[mask] = rows[1]
            batch["token_type_ids"] = _sent(types, device)
        return batch

    def probe(self) -> list[Prepared]:
        return [self.prepare("one"), self.prepare("two words or more")]
