"""Directories that an export of this service wrote: what they say stands for what their import leaves out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penult_proto.errors import ErrorKind
from penult_proto.files import ABOUT
from penult_proto.limits import MOST_CONFIG_BYTES
from penult_proto.v1 import jobs_pb2, runs_pb2
from penult_server.errors import ServiceError
from penult_server.finetuning.inputs import check_classes, check_inputs
from penult_server.named.roots import read_named

VERSION = 1
"""The version of exports that is understood."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What a directory that an export wrote is."""

    backbone: str
    is_as_stored: bool
    """Whether its tensors have the names that they have in the store, whatever library its configuration is of."""


def complete_from_export(spec: jobs_pb2.ImportCheckpointSpec, source: Path) -> Exported | None:
    """Fill in, from a directory's ``penult.json``, the classes of a head that is kept and what the model reads.

    What the request says itself stays. Returns None for a directory, or a file, without one.
    Raises ServiceError (INVALID_ARGUMENT) for one that no export wrote.
    """
    if not (source / ABOUT).is_file():
        return None
    try:
        said: dict[str, Any] = json.loads(read_named(source / ABOUT, MOST_CONFIG_BYTES))
        if said["export"] != VERSION:
            raise ValueError(f"it is of version {said['export']!r}, not {VERSION}")
        stored: dict[str, Any] = said["stored_manifest"]
        _fill_in(spec, stored)
        exported = Exported(str(stored["backbone"]), said["format"] == "safetensors")
        check_classes(spec)
        check_inputs(spec)
    except (OSError, ValueError, TypeError, LookupError, RecursionError, ServiceError) as error:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{ABOUT} of {spec.name!r} is not as an export writes it ({error!r:.300}); remove it and say what it "
            "would, such as classes= and image_size=, or export again",
            field="source",
        ) from error
    return exported


def _fill_in(spec: jobs_pb2.ImportCheckpointSpec, stored: dict[str, Any]) -> None:
    """Raises TypeError, ValueError and LookupError for a manifest that is none."""
    if not spec.classes and spec.head == runs_pb2.HEAD_NAME_KEEP:
        spec.classes.extend(stored["classes"])
    if stored["image_size"]:
        # A crop is one of the size that it was made for.
        if not spec.HasField("image_size") and not spec.HasField("image_resize"):
            spec.image_size, spec.image_resize = stored["image_size"], stored["image_resize"]
        spec.image_mean.extend([] if spec.image_mean else stored["image_mean"])
        spec.image_std.extend([] if spec.image_std else stored["image_std"])
        spec.interpolation = spec.interpolation or stored["interpolation"]
    else:
        if not spec.HasField("max_tokens"):
            spec.max_tokens = stored["max_tokens"]
        if not spec.pooling:
            spec.pooling = runs_pb2.PoolingName.Value(f"POOLING_NAME_{stored['pooling'].upper()}")
