"""Texts tokenised once and kept in the store: other runs on the same data read token ids instead.

`tokens/<dataset>.<digest>.safetensors`, named by what decides the ids: dataset, split, tokenizer and length. What
cannot be read, or is not what was written, is tokenised again.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# safetensors annotates its arrays in part.

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from penult_server.backbones.images.preprocessing import Prepared, Preprocessing, TextPreprocessing
from penult_server.backbones.inputs import SplitInputs, open_inputs
from penult_server.datasets.model import Dataset
from penult_server.stores.disk.durable import staged_file


def open_tokenised(dataset: Dataset, split: str, preprocessing: Preprocessing, root: Path) -> SplitInputs:
    """The inputs of a split as `open_inputs` gives them; texts that fit into memory with all ids at hand."""
    inputs = open_inputs(dataset, split, preprocessing)
    if not isinstance(preprocessing, TextPreprocessing) or not inputs.is_kept or not len(inputs):
        return inputs
    content = json.dumps(["tokens 2", dataset.info.digest, split, preprocessing.identity, preprocessing.reads_types])
    # The dataset's digest stands first, so that its texts can be found when it is deleted.
    path = root / "tokens" / f"{dataset.info.digest}.{hashlib.sha256(content.encode()).hexdigest()}.safetensors"
    items = _read(path, len(inputs))
    if items is None:
        items = preprocessing.prepare_all(list(dataset.examples(split)))
        _write(path, items)
    inputs.keep(items)
    return inputs


def _write(path: Path, items: list[Prepared]) -> None:
    ids, ends = np.concatenate(items, axis=-1, dtype=np.int32), np.cumsum([item.shape[-1] for item in items])
    with staged_file(path) as staging:
        save_file({"ids": ids, "ends": ends}, staging, metadata={"checksum": _checksum(ids, ends)})


def _read(path: Path, n: int) -> list[Prepared] | None:
    """The token ids of `n` texts or pairs, or None."""
    try:
        with safe_open(path, framework="np") as file:
            ids: NDArray[np.int32] = file.get_tensor("ids")
            ends: NDArray[np.int64] = file.get_tensor("ends")
            checksum = file.metadata()["checksum"]
    except (OSError, SafetensorError, KeyError, TypeError):
        return None
    if len(ends) != n or checksum != _checksum(ids, ends):
        return None
    return list(np.split(ids, ends[:-1], axis=-1))


def _checksum(ids: NDArray[np.int32], ends: NDArray[np.int64]) -> str:
    return str(zlib.crc32(ends.tobytes(), zlib.crc32(ids.tobytes())))
