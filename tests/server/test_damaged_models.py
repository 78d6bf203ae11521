"""Directories of models whose files are damaged, or made to do harm: a sentence each, and nothing of them runs."""

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_directories import TEXT, write_text_model

from penult_proto.errors import ErrorKind
from penult_server.backbones.model import load_backbone
from penult_server.errors import ServiceError

LONG = {"max_position_embeddings": 512}


class Evil:
    """An object that runs a command when it is made."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def refused(directory: Path) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        load_backbone(str(directory), 2, pretrained=True, seed=0)
    assert len(error.value.message) < 1000
    return error.value


def test_weights_of_transformers_that_are_none(tmp_path: Path):
    mark, whole = tmp_path / "mark", saved({"t": torch.zeros(1000)})
    damaged = {
        "evil": saved({"w": Evil(mark), "t": torch.zeros(2)}),
        "pickle": pickle.dumps({"w": Evil(mark)}),
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "noise": bytes(range(256)) * 20,
        "text": b"hello world",
        "list": saved([1, 2]),
    }
    directory = Path(write_text_model(tmp_path / "model", "bert", **LONG))
    for content in damaged.values():
        (directory / "pytorch_model.bin").write_bytes(content)
        assert refused(directory).kind is ErrorKind.WEIGHTS_UNAVAILABLE
    assert not mark.exists()


BERT = TEXT | LONG | {"model_type": "bert"}
CONFIGS: dict[str, dict[str, Any]] = {
    "a text for a number": {**BERT, "hidden_size": "x"},
    "a negative number": {**BERT, "hidden_size": -16},
    "heads that do not divide": {**BERT, "num_attention_heads": 3},
    "an argument that timm does not know": {"architecture": "test_resnet", "model_args": {"no_such": 1}},
    "arguments that are none": {"architecture": "test_resnet", "model_args": [1]},
    "classes that are no number": {"architecture": "test_resnet", "num_classes": "x"},
    "weights that are none": {"architecture": "test_resnet", "pretrained_cfg": [1]},
}


@pytest.mark.parametrize("case", list(CONFIGS))
def test_configurations_of_no_model(tmp_path: Path, case: str):
    directory = Path(write_text_model(tmp_path / "model", "bert", **LONG))
    (directory / "pytorch_model.bin").write_bytes(saved({"t": torch.zeros(2)}))
    (directory / "config.json").write_text(json.dumps(CONFIGS[case]))
    kinds = (ErrorKind.WEIGHTS_UNAVAILABLE, ErrorKind.INVALID_ARGUMENT)
    with pytest.raises(ServiceError) as error:
        load_backbone(str(directory), 0, pretrained=True, seed=0)
    assert error.value.kind in kinds


def test_a_configuration_that_is_too_deep(tmp_path: Path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert refused(tmp_path).kind is ErrorKind.INVALID_ARGUMENT
