"""Checkpoints: identity by content, whole or absent, damage found, head readable without torch."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.checkpoint_stream import CheckpointStream
from penult_server.stores.checkpoints import (
    WEIGHTS_FILE,
    CheckpointManifest,
    checkpoint_directory,
    digest_checkpoint,
    digest_weights,
    read_head,
    read_manifest,
    read_state,
    write_checkpoint,
)

State = dict[str, np.ndarray]


def state_of(seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    return {
        "body.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "body.counter": np.array(7, dtype=np.int64),
        "head.weight": rng.normal(size=(2, 4)).astype(np.float32),
        "head.bias": rng.normal(size=2).astype(np.float32),
    }


def manifest_of(state: State, **changes: object) -> CheckpointManifest:
    weights_digest = digest_weights(state)
    base = CheckpointManifest(
        digest="",
        weights_digest=weights_digest,
        run_id="run",
        epoch=1,
        backbone="test",
        library="timm",
        dataset="data",
        dataset_digest="d" * 64,
        attribute="ground",
        classes=("x", "y"),
        train_shares=(0.4, 0.1, 0.1, 0.4),
        n_features=4,
        n_classes=2,
        head_weight="head.weight",
        head_bias="head.bias",
        head_error=1e-8,
        preprocessing_id="image",
        image_size=8,
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.25, 0.1),
        interpolation="bicubic",
        created="2026-01-02T03:04:05+00:00",
    )
    manifest = replace(base, **changes)
    digest = digest_checkpoint(
        manifest.weights_digest,
        preprocessing_id=manifest.preprocessing_id,
        dataset_digest=manifest.dataset_digest,
        attribute=manifest.attribute,
    )
    return replace(manifest, digest=digest)


def test_round_trip(tmp_path: Path) -> None:
    state = state_of()
    written = write_checkpoint(tmp_path, manifest_of(state), state)
    assert written == manifest_of(state)
    assert read_manifest(tmp_path, written.digest) == written
    loaded = read_state(tmp_path, written)
    assert set(loaded) == set(state)
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype
        assert_array_equal(loaded[name], tensor, strict=True)
    weight, bias = read_head(tmp_path, written.digest)
    assert_array_equal(weight, state["head.weight"], strict=True)
    assert_array_equal(bias, state["head.bias"], strict=True)


def test_head_without_bias_has_zeros(tmp_path: Path) -> None:
    state = state_of()
    del state["head.bias"]
    written = write_checkpoint(tmp_path, manifest_of(state, head_bias=""), state)
    assert_array_equal(read_head(tmp_path, written.digest)[1], np.zeros(2, dtype=np.float32), strict=True)


def test_weights_digest_is_of_the_content_alone() -> None:
    state = state_of()
    digest = digest_weights(state)
    assert digest_weights(dict(reversed(state.items()))) == digest
    # Another layout in memory, the same numbers.
    assert digest_weights({**state, "body.weight": np.asfortranarray(state["body.weight"])}) == digest
    nearest = np.nextafter(state["head.bias"], np.float32(np.inf))
    for changed in (
        {**state, "head.bias": nearest},
        {**state, "head.bias": state["head.bias"].astype(np.float64)},
        {**state, "head.bias": state["head.bias"][None]},
        {("other" if name == "head.bias" else name): tensor for name, tensor in state.items()},
        {name: tensor for name, tensor in state.items() if name != "head.bias"},
    ):
        assert digest_weights(changed) != digest


def test_identity_covers_what_decides_the_features_and_groups(tmp_path: Path) -> None:
    state = state_of()
    manifests = [
        manifest_of(state, **change)
        for change in ({}, {"preprocessing_id": "other"}, {"dataset_digest": "e" * 64}, {"attribute": "other"})
    ]
    for manifest in manifests:
        write_checkpoint(tmp_path, manifest, state)
    assert len({manifest.digest for manifest in manifests}) == 4
    assert [read_manifest(tmp_path, manifest.digest) for manifest in manifests] == manifests


def test_an_equal_checkpoint_is_kept(tmp_path: Path) -> None:
    state = state_of()
    first = write_checkpoint(tmp_path, manifest_of(state), state)
    path = checkpoint_directory(tmp_path, first.digest) / WEIGHTS_FILE
    before = path.stat().st_ino
    second = write_checkpoint(tmp_path, manifest_of(state, run_id="later"), state)
    assert second == first
    assert path.stat().st_ino == before


def test_what_is_deleted_while_it_is_read_is_unknown_and_not_damaged(tmp_path: Path) -> None:
    state = state_of()
    written = write_checkpoint(tmp_path, manifest_of(state), state)
    stream = CheckpointStream(tmp_path, written.digest)
    directory = checkpoint_directory(tmp_path, written.digest)
    (directory / WEIGHTS_FILE).rename(tmp_path / "weights")
    with pytest.raises(ServiceError) as damaged:
        stream.verify()
    shutil.rmtree(directory)
    with pytest.raises(ServiceError, match="deleted while it was being read") as deleted:
        stream.verify()
    with pytest.raises(ServiceError, match="deleted while it was being read") as read_whole:
        read_state(tmp_path, written)
    kinds = (damaged.value.kind, deleted.value.kind, read_whole.value.kind)
    assert kinds == (ErrorKind.STORE_CORRUPT, ErrorKind.UNKNOWN_CHECKPOINT, ErrorKind.UNKNOWN_CHECKPOINT)


def test_companion_files_come_back_and_damage_to_them_is_found(tmp_path: Path) -> None:
    state = state_of()
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # sha256 of "abc"
    written = write_checkpoint(
        tmp_path, manifest_of(state, files={"config.json": digest}), state, {"config.json": b"abc"}
    )
    path = checkpoint_directory(tmp_path, written.digest) / "config.json"
    assert path.read_bytes() == b"abc"
    read_state(tmp_path, written)
    path.write_bytes(b"abd")
    with pytest.raises(ServiceError, match=r"config\.json") as caught:
        read_state(tmp_path, written)
    assert caught.value.kind is ErrorKind.STORE_CORRUPT


def test_unknown_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no checkpoint 'abc'") as caught:
        read_manifest(tmp_path, "abc")
    assert caught.value.kind is ErrorKind.UNKNOWN_CHECKPOINT


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def swap_weights(path: Path) -> None:
    save_file(state_of(seed=1), path)


@pytest.mark.parametrize("damage", [flip_last_byte, cut, swap_weights, Path.unlink])
def test_damaged_weights_are_found(tmp_path: Path, damage: object) -> None:
    state = state_of()
    written = write_checkpoint(tmp_path, manifest_of(state), state)
    damage(checkpoint_directory(tmp_path, written.digest) / WEIGHTS_FILE)
    with pytest.raises(ServiceError, match=r"model\.safetensors") as caught:
        read_state(tmp_path, written)
    assert caught.value.kind is ErrorKind.STORE_CORRUPT


@pytest.mark.parametrize(
    "change",
    [
        {"preprocessing_id": "another"},
        {"weights_digest": "0" * 64},
        {"digest": "0" * 64},
        {"surplus": 1},
    ],
)
def test_altered_manifest_is_found(tmp_path: Path, change: dict[str, object]) -> None:
    state = state_of()
    written = write_checkpoint(tmp_path, manifest_of(state), state)
    path = checkpoint_directory(tmp_path, written.digest) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ServiceError, match=r"manifest\.json") as caught:
        read_manifest(tmp_path, written.digest)
    assert caught.value.kind is ErrorKind.STORE_CORRUPT


@pytest.mark.parametrize("content", ["", "{}", "[1]", "\x00\xff"])
def test_unreadable_manifest_is_found(tmp_path: Path, content: str) -> None:
    state = state_of()
    written = write_checkpoint(tmp_path, manifest_of(state), state)
    (checkpoint_directory(tmp_path, written.digest) / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(ServiceError) as caught:
        read_manifest(tmp_path, written.digest)
    assert caught.value.kind is ErrorKind.STORE_CORRUPT


def test_head_of_other_shapes_is_found(tmp_path: Path) -> None:
    state = state_of()
    written = write_checkpoint(tmp_path, manifest_of(state, n_classes=3), state)
    with pytest.raises(ServiceError, match="shapes") as caught:
        read_head(tmp_path, written.digest)
    assert caught.value.kind is ErrorKind.STORE_CORRUPT


def test_the_front_reads_all_this_without_torch() -> None:
    code = (
        "import sys, penult_server.stores.checkpoints, penult_server.backbones.catalog\n"
        "import penult_server.finetuning.config\n"
        "sys.exit(', '.join(sorted({'torch', 'timm', 'transformers', 'torchvision'} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
