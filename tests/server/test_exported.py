"""What an export says of itself, read again."""

import json
from pathlib import Path
from typing import Any

import pytest

from penult_proto.v1 import jobs_pb2, runs_pb2
from penult_server.errors import ServiceError
from penult_server.jobs.imports.exported import complete_from_export

STORED = {
    "backbone": "test_resnet",
    "classes": ["cat", "dog"],
    "image_size": 16,
    "image_resize": 20,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.2, 0.2, 0.2],
    "interpolation": "bicubic",
}
SAID = {"export": 1, "format": "timm", "stored_manifest": STORED}


def completed(path: Path, said: str) -> jobs_pb2.ImportCheckpointSpec:
    (path / "penult.json").write_text(said)
    spec = jobs_pb2.ImportCheckpointSpec(name="one", head=runs_pb2.HEAD_NAME_KEEP)
    exported = complete_from_export(spec, path)
    assert exported is not None
    assert (exported.backbone, exported.is_as_stored) == ("test_resnet", False)
    return spec


def test_what_it_says_stands_for_what_is_left_out(tmp_path):
    spec = completed(tmp_path, json.dumps(SAID))
    assert (list(spec.classes), spec.image_size, spec.image_resize) == (["cat", "dog"], 16, 20)
    assert (list(spec.image_std), spec.interpolation) == ([0.2] * 3, "bicubic")


@pytest.mark.parametrize(
    "changed",
    [
        {"export": 2},
        {"stored_manifest": {}},
        {"stored_manifest": STORED | {"image_std": [0, 0, 0]}},
        {"stored_manifest": STORED | {"image_size": "wide"}},
        {"stored_manifest": STORED | {"classes": ["same", "same"]}},
    ],
)
def test_what_no_export_writes_is_refused(tmp_path, changed: dict[str, Any]):
    with pytest.raises(ServiceError, match=r"penult\.json of 'one' is not as an export writes it"):
        completed(tmp_path, json.dumps(SAID | changed))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "null"])
def test_what_is_no_description_is_refused(tmp_path, text: str):
    with pytest.raises(ServiceError, match="not as an export writes it"):
        completed(tmp_path, text)
