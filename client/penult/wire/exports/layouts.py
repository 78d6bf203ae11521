"""The directories of timm and transformers: what stands in their configuration files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from penult.errors import invalid
from penult.types import ExportFormat
from penult.wire.exports.manifest import StoredManifest

PIL_NUMBERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
"""Numbers of Pillow's interpolations."""


def choose(asked: ExportFormat | None, manifest: StoredManifest) -> ExportFormat:
    """The format, by default the library's own. Raises `InvalidRequest` for one that cannot express the model."""
    format: ExportFormat = manifest.library if asked is None else asked
    if format == "safetensors":
        return format
    if format != manifest.library:
        raise invalid(
            f"the model is one of {manifest.library}, which {format} cannot load; use format={manifest.library!r}, or "
            "'safetensors' for the weights alone",
            argument="format",
        )
    if manifest.pooling == "mean":
        raise invalid(
            "the head of this model reads the mean over the tokens, for which transformers has no classifier; use "
            "format='safetensors': the tensors 'encoder.*' are those of AutoModel, 'classifier.*' the head",
            argument="format",
        )
    if not manifest.build:
        raise invalid(
            f"this checkpoint was stored without what {format} builds its model from; use format='safetensors', or "
            "finetune again",
            argument="format",
        )
    return format


def head_shapes(format: ExportFormat, manifest: StoredManifest) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors that differ from the stored ones: timm keeps some heads as 1 x 1 convolutions."""
    if format == "timm" and manifest.build["head_is_convolution"]:
        return {manifest.head_weight: (len(manifest.classes), manifest.n_features, 1, 1)}
    return {}


def configuration(format: ExportFormat, manifest: StoredManifest, stored: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a layout that differ from the stored ones, by their names."""
    if format == "timm":
        return {"config.json": _json(timm_config(manifest))}
    if format == "transformers":
        written = {"config.json": _json(transformers_config(manifest, json.loads(stored["config.json"])))}
        if manifest.is_image:
            return written | {"preprocessor_config.json": _json(image_processor(manifest))}
        tokenizer: dict[str, Any] = json.loads(stored.get("tokenizer_config.json", b"{}"))
        limits = {"model_max_length": manifest.max_tokens, "padding_side": "right"}
        return written | {"tokenizer_config.json": _json(tokenizer | limits)}
    return {}


def timm_config(manifest: StoredManifest) -> dict[str, Any]:
    """``config.json`` as timm's hub has it."""
    n_classes, size = len(manifest.classes), manifest.image_size
    return {
        "architecture": manifest.build["architecture"],
        "num_classes": n_classes,
        "num_features": manifest.n_features,
        "label_names": list(manifest.classes),
        "model_args": manifest.build["model_args"],
        "pretrained_cfg": {
            **manifest.build["pretrained_cfg"],
            "custom_load": False,
            "input_size": [3, size, size],
            "interpolation": manifest.interpolation,
            "crop_pct": crop_fraction(size, manifest.resize),
            "crop_mode": "center",
            "mean": list(manifest.image_mean),
            "std": list(manifest.image_std),
            "num_classes": n_classes,
        },
    }


def crop_fraction(size: int, resize: int) -> float:
    """The number that timm divides `size` by, rounding down, to get `resize`."""
    fraction = size / resize
    while math.floor(size / fraction) < resize:
        fraction = math.nextafter(fraction, 0.0)
    return fraction


def transformers_config(manifest: StoredManifest, stored: dict[str, Any]) -> dict[str, Any]:
    """``config.json`` of a classifier with names for its classes."""
    changed = {
        "architectures": [manifest.build["class"]],
        "id2label": {str(index): name for index, name in enumerate(manifest.classes)},
        "label2id": {name: index for index, name in enumerate(manifest.classes)},
        "problem_type": "single_label_classification",
        "dtype": "float32",
    }
    left_out = ("num_labels", "_name_or_path", "torch_dtype")
    return {name: value for name, value in stored.items() if name not in left_out} | changed


def image_processor(manifest: StoredManifest) -> dict[str, Any]:
    """``preprocessor_config.json``: of the processors that know a center crop, the plainest."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": manifest.resize},
        "resample": PIL_NUMBERS[manifest.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": manifest.image_size, "width": manifest.image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(manifest.image_mean),
        "image_std": list(manifest.image_std),
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
