"""What a server says of a stored checkpoint, as far as an export needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from penult.errors import ServerBug
from penult.types import ExportFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredManifest:
    """Fields of the manifest of a checkpoint."""

    weights_digest: str
    library: Literal["timm", "transformers"]
    attribute: str
    classes: tuple[str, ...]
    n_features: int
    head_weight: str
    """Name of the tensor (C, D)."""
    head_bias: str
    """Name of the tensor (C,); empty when the head has none."""
    image_size: int
    """Pixels of the square input's side; 0 for texts."""
    image_resize: int
    """Pixels of the shorter side before the crop; 0 for `image_size`."""
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    interpolation: str
    max_tokens: int
    """Tokens kept of each text; 0 for images."""
    pooling: Literal["model", "mean"]
    build: Mapping[str, Any]
    """What the library's own layout says of the model besides its preprocessing and classes."""

    @property
    def is_image(self) -> bool:
        """Whether the model reads images; otherwise texts."""
        return self.image_size > 0

    @property
    def resize(self) -> int:
        """Pixels of the shorter side before the crop."""
        return self.image_resize or self.image_size


def parse_manifest(text: str) -> tuple[StoredManifest, dict[str, Any]]:
    """The manifest, and all of it as it is stored. Raises `ServerBug`."""
    try:
        said: dict[str, Any] = json.loads(text)
        known = {one.name: said[one.name] for one in fields(StoredManifest)}
    except (ValueError, KeyError, TypeError) as error:
        raise ServerBug(f"the server sent a manifest that cannot be read: {error!r}") from None
    tuples: dict[str, Any] = {name: tuple(known[name]) for name in ("classes", "image_mean", "image_std")}
    return StoredManifest(**(known | tuples)), said


CROP_REMARK = (
    "the image processors of transformers round the place of the crop down where a half is left: for some sides of "
    "images the crop lies a pixel beside the one that is meant"
)


def preprocessing(manifest: StoredManifest, format: ExportFormat) -> dict[str, Any]:
    """How examples reach the model."""
    if manifest.is_image:
        remark = {"remark": CROP_REMARK} if format == "transformers" else {}
        return remark | {
            "kind": "image",
            "steps": "shorter side resized to `resize` pixels, center crop of `size` x `size`, "
            "then (pixel / 255 - mean) / std for each channel",
            "resize": manifest.resize,
            "size": manifest.image_size,
            "interpolation": manifest.interpolation,
            "mean": list(manifest.image_mean),
            "std": list(manifest.image_std),
        }
    pooled = "the mean of the last hidden states over the tokens" if manifest.pooling == "mean" else "the model's own"
    return {
        "kind": "text",
        "steps": "token ids with the tokenizer's special tokens, cut after `max_tokens`, padded on the right",
        "max_tokens": manifest.max_tokens,
        "pooling": pooled,
    }
