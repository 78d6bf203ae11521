"""Merges from file to file, and running statistics: against torch, and what holds at every slice."""

import errno
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning_data import MemoryDataset, Recorder, squares
from safetensors.numpy import load_file
from torch.optim.swa_utils import AveragedModel, update_bn

from penult_proto.errors import ErrorKind
from penult_server.backbones.inputs import open_inputs
from penult_server.backbones.saving import load_checkpoint
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.start import Start
from penult_server.finetuning.train import finetune
from penult_server.merging.batchnorm import batches, drawn_rows, reestimate
from penult_server.merging.storing import Reestimation, Told, store_merge
from penult_server.merging.streamed import MergePlan, stream
from penult_server.merging.tensors import merged_tensors
from penult_server.stores.checkpoints import (
    CheckpointManifest,
    checkpoint_directory,
    digest_checkpoint,
    digest_weights,
    read_manifest,
    read_state,
    write_checkpoint,
)
from penult_server.stores.writing.weights import WeightsWriter, digest_of_weights, header_of

CPU = torch.device("cpu")
FACTS = {
    "run_id": "",
    "epoch": 1,
    "backbone": "toy",
    "library": "timm",
    "dataset": "d",
    "dataset_digest": "d" * 64,
    "attribute": "a",
    "train_shares": (),
    "n_features": 3,
    "n_classes": 2,
    "head_weight": "head.weight",
    "head_bias": "head.bias",
    "head_error": 0.0,
    "preprocessing_id": "p",
}


def toy(
    root: Path, seed: int, classes=("x", "y"), dtype=np.float32, mask=None, n: int = 50, scale=None
) -> CheckpointManifest:
    """A stored checkpoint of a few tensors that no library builds."""
    rng = np.random.default_rng(seed)
    state = {
        "blocks.0.weight": rng.standard_normal((n, 7)).astype(dtype),
        "bn.num_batches_tracked": np.array(seed, dtype=np.int64),
        "bn.running_mean": rng.standard_normal(5).astype(np.float32),
        "head.bias": rng.standard_normal(2).astype(dtype),
        "head.weight": rng.standard_normal((2, 3)).astype(dtype),
        "mask": np.arange(9) if mask is None else mask,
        "scale": np.float32(seed if scale is None else scale),
    }
    weights = digest_weights(state)
    digest = digest_checkpoint(weights, preprocessing_id="p", dataset_digest="d" * 64, attribute="a")
    manifest = CheckpointManifest(digest=digest, weights_digest=weights, classes=classes, **FACTS)
    return write_checkpoint(root, manifest, {name: np.asarray(value) for name, value in state.items()})


def plan(root: Path, parents, *, method="uniform", scope="full", rest="", **others) -> MergePlan:
    first = read_manifest(root, rest or parents[0])
    header = header_of(checkpoint_directory(root, first.digest) / "model.safetensors")
    usual = {"shares": (), "numbers": {}, "seed": 0, "base": ""}
    return MergePlan(
        method=method,
        parents=tuple(parents),
        rest=first.digest,
        merged=tuple(merged_tensors(header, first, scope)),
        **usual | others,
    )


def merged(root: Path, asked: MergePlan, tmp: Path, **how) -> dict:
    target = tmp / f"merged-{len(list(tmp.iterdir()))}.safetensors"
    found = stream(root, asked, target, beat=how.pop("beat", lambda _: None), **how)
    assert digest_of_weights(target) == found.weights_digest
    return load_file(target)


def test_tensors_are_merged_or_kept_by_what_they_are(tmp_path):
    root = tmp_path / "store"
    a, b, c = (toy(root, seed).digest for seed in (1, 2, 3))
    states = {one: read_state(root, read_manifest(root, one)) for one in (a, b, c)}
    found = merged(root, plan(root, [a, b, c], scope="body", averaged=("bn.running_mean",)), tmp_path, step=11)
    for name in ("blocks.0.weight", "bn.running_mean"):
        expected = np.mean([state[name].astype(np.float64) for state in states.values()], axis=0)
        np.testing.assert_array_equal(found[name], expected.astype(np.float32))
    for name in ("head.weight", "head.bias", "mask", "bn.num_batches_tracked"):
        np.testing.assert_array_equal(found[name], states[a][name])
    assert found["scale"] == 2.0
    assert found["scale"].shape == ()
    kept = merged(root, plan(root, [a, b, c], scope="head"), tmp_path)
    assert np.array_equal(kept["blocks.0.weight"], states[a]["blocks.0.weight"])
    assert not np.array_equal(kept["head.weight"], states[a]["head.weight"])


def test_a_share_of_one_is_the_parent_bit_for_bit(tmp_path):
    root = tmp_path / "store"
    a, b = toy(root, 1), toy(root, 2)
    target = tmp_path / "merged"
    found = stream(root, plan(root, [a.digest, b.digest], shares=(1.0, 0.0)), target, beat=lambda _: None)
    assert found.weights_digest == a.weights_digest


def test_heads_meet_by_the_names_of_their_classes(tmp_path):
    root = tmp_path / "store"
    a, b = toy(root, 1), toy(root, 2, classes=("y", "x"))
    order = {b.digest: dict.fromkeys(("head.weight", "head.bias"), np.array([1, 0]))}
    found = merged(root, plan(root, [a.digest, b.digest], rows=order), tmp_path, step=2)
    first, second = (read_state(root, one) for one in (a, b))
    for name in ("head.weight", "head.bias"):
        expected = (first[name].astype(np.float64) + second[name][::-1]) / 2
        np.testing.assert_array_equal(found[name], expected.astype(np.float32))


def refused(root: Path, asked: MergePlan, tmp_path: Path) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        stream(root, asked, tmp_path / "refused", beat=lambda _: None)
    return caught.value


def test_whole_numbers_that_differ_have_no_mean(tmp_path):
    root = tmp_path / "store"
    parents = [toy(root, 1).digest, toy(root, 2, mask=np.arange(9)[::-1].copy()).digest]
    error = refused(root, plan(root, parents), tmp_path)
    assert error.kind == ErrorKind.INCOMPATIBLE_CHECKPOINTS
    assert error.metadata["tensors"] == "mask"


def test_a_sum_that_its_type_does_not_hold_is_refused(tmp_path):
    root = tmp_path / "store"
    parents = [toy(root, seed, dtype=np.float16).digest for seed in (1, 2)]
    asked = plan(root, parents[1:], method="task_arithmetic", base=parents[0], numbers={"scale": 1e6})
    error = refused(root, asked, tmp_path)
    assert (error.kind, error.metadata["tensors"]) == (ErrorKind.NOT_FINITE, "blocks.0.weight")


@pytest.mark.parametrize("part", ["parents", "base"])
def test_a_damaged_file_is_told_by_name(tmp_path, part):
    root = tmp_path / "store"
    a, b = toy(root, 1).digest, toy(root, 2).digest
    path = checkpoint_directory(root, b) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    asked = plan(root, [a, b]) if part == "parents" else plan(root, [a], method="wise", base=b, numbers={"t": 0.5})
    error = refused(root, asked, tmp_path)
    assert error.kind == ErrorKind.STORE_CORRUPT
    assert error.metadata["checkpoint"] == b


def test_memory_does_not_grow_with_the_number_of_parents(tmp_path):
    root = tmp_path / "store"
    parents = [toy(root, seed, n=300_000).digest for seed in range(1, 7)]  # 8 MB each
    for count in (2, 6):
        tracemalloc.start()
        stream(root, plan(root, parents[:count]), tmp_path / f"merged-{count}", beat=lambda _: None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4e6 + count * 2.2e6  # sums and what is written, and two slices of 1 MiB of each parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, MemoryDataset, list[CheckpointManifest]]:
    """A store with a start and two runs from it."""
    root, data = tmp_path_factory.mktemp("store"), squares()

    def run(**config) -> CheckpointManifest:
        asked = FinetuneConfig(**{"backbone": "test_resnet", "epochs": 0, "evaluate": ("val",)} | config)
        return finetune(asked, data, root=root, device=CPU, context=Recorder(), run_id="").checkpoints[-1]

    start = run(pretrained=False)
    found = Start(checkpoint=start.digest, refit="")
    return root, data, [start, *(run(start=found, epochs=1, batch_size=8, seed=seed) for seed in (1, 2))]


def told(*, merging=lambda _: None) -> Told:
    return Told(merging=merging, measuring=lambda done, total: None)


def measured(data: MemoryDataset, **others) -> Reestimation:
    usual = {"attribute": "", "stream": "natural", "batch_size": 8, "count": 40, "seed": 3}
    return Reestimation(dataset=data, **usual | others)


def test_weights_and_statistics_are_those_of_torch(trained):
    root, data, (_, a, b) = trained
    how = measured(data)
    manifest = store_merge(root, plan(root, [a.digest, b.digest]), how, lambda *_: ({}, ()), device=CPU, told=told())
    found = load_checkpoint(root, manifest.digest, CPU)
    models = [load_checkpoint(root, one.digest, CPU) for one in (a, b)]
    average = AveragedModel(models[0].module)
    average.update_parameters(models[0].module)
    average.update_parameters(models[1].module)
    inputs = open_inputs(data, "train", found.preprocessing)
    update_bn((found.preprocessing.to_batch(inputs.take(rows), CPU) for rows in how.positions()), average)
    expected = average.module.state_dict()
    for name, tensor in found.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    assert any("running_mean" in name for name in expected)
    assert (manifest.run_id, manifest.source, manifest.head) == ("", "run, merged: uniform", "merged")
    assert manifest.head_error <= 1e-5


def test_a_merge_with_a_parent_s_weights_is_that_parent(trained):
    root, _, (start, a, b) = trained
    cases = (([a, b], (1.0, 0.0), True), ([b, a], (0.0, 1.0), True), ([a, b], (0.5, 0.5), False))
    for parents, shares, is_first in cases:
        asked = plan(root, [one.digest for one in parents], shares=shares, rest=a.digest)
        found = store_merge(root, asked, None, lambda *_: ({}, ()), device=CPU, told=told())
        assert (found == a) is is_first
    assert start.digest not in (a.digest, b.digest)


def test_until_it_is_done_there_is_a_staged_folder_alone(trained):
    root, _, (_, a, b) = trained
    before = {one.name for one in (root / "checkpoints").iterdir()}
    seen: list[int] = []

    stops: list[int] = []

    def merging(_: float) -> None:
        (staged,) = {one.name for one in (root / "checkpoints").iterdir()} - before
        assert staged.startswith(".")
        seen.append(1)
        if len(seen) == stops[-1]:
            raise KeyboardInterrupt

    asked = plan(root, [a.digest, b.digest], method="uniform", scope="body", rest=b.digest)
    for stop in (1, 7, 60):
        seen.clear()
        stops.append(stop)
        with pytest.raises(KeyboardInterrupt):
            store_merge(root, asked, None, lambda *_: ({}, ()), device=CPU, told=told(merging=merging))
        assert {one.name for one in (root / "checkpoints").iterdir()} == before


KILLED = """
import os, signal, sys
from pathlib import Path
from penult_proto.safetensors import WEIGHTS_FILE
from penult_server.merging.streamed import MergePlan, stream
from penult_server.merging.tensors import merged_tensors
from penult_server.stores.checkpoints import FOLDER, checkpoint_directory, read_manifest
from penult_server.stores.places.opening import store_of
from penult_server.stores.writing.weights import header_of

root, last, *parents = sys.argv[1:]
first = read_manifest(Path(root), parents[0])
header = header_of(checkpoint_directory(Path(root), parents[0]) / WEIGHTS_FILE)
left = [int(last)]

def beat(_):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

plan = MergePlan(method="uniform", parents=tuple(parents), shares=(), numbers={}, seed=0, base="", rest=parents[0],
                 merged=tuple(merged_tensors(header, first, "full")))
attempt = store_of(Path(root)).attempt(FOLDER)
stream(Path(root), plan, attempt.directory / WEIGHTS_FILE, beat=beat, step=64)
"""


def test_a_process_that_is_killed_leaves_a_staged_folder_alone(tmp_path):
    root = tmp_path / "store"
    parents = [toy(root, seed).digest for seed in (1, 2)]
    seen: list[float] = []
    whole = merged(root, plan(root, parents), tmp_path, beat=seen.append, step=64)
    assert len(seen) > 8
    for last in (1, len(seen) // 2, len(seen)):
        done = subprocess.run([sys.executable, "-c", KILLED, str(root), str(last), *parents], check=False)
        assert done.returncode == -signal.SIGKILL
        left = {one.name for one in (root / "checkpoints").iterdir()} - set(parents)
        assert left
        assert all(one.startswith(".") for one in left)
    again = merged(root, plan(root, parents), tmp_path, step=64)
    assert all(np.array_equal(again[name], value) for name, value in whole.items())


@pytest.mark.parametrize("where", ["at its length", "at a slice"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, where):
    root = tmp_path / "store"
    parents = [toy(root, seed).digest for seed in (1, 2)]
    write, count = WeightsWriter.write, [0]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    def at_third(*given: object) -> None:
        count[0] += 1
        (full if count[0] == 3 else write)(*given)

    if where == "at its length":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(WeightsWriter, "write", at_third)
    with pytest.raises(OSError, match="no space") as caught:
        store_merge(root, plan(root, parents), None, lambda *_: ({}, ()), device=CPU, told=told())
    assert caught.value.errno == errno.ENOSPC
    assert {one.name for one in (root / "checkpoints").iterdir()} == set(parents)


def test_statistics_of_the_network_that_was_trained_are_measured_without_dropout(trained):
    root, data, (_, a, _) = trained
    model = load_checkpoint(root, a.digest, CPU)
    inputs = open_inputs(data, "train", model.preprocessing)
    weights = {name: value.clone() for name, value in model.module.named_parameters()}
    momenta = [one.momentum for one in model.module.modules() if hasattr(one, "momentum")]
    reestimate(model, inputs, measured(data).positions(), device=CPU, beat=lambda _: None)
    assert not any(one.training for one in model.module.modules())
    assert [one.momentum for one in model.module.modules() if hasattr(one, "momentum")] == momenta
    assert all(torch.equal(value, weights[name]) for name, value in model.module.named_parameters())


def test_a_balanced_stream_has_equally_many_of_each():
    y = np.repeat([0, 1], [90, 10])
    g = y * 2 + (np.arange(100) % 10 == 0)
    natural = drawn_rows("natural", y, g, count=60, seed=0)
    assert len(set(natural.tolist())) == 60
    by_class = drawn_rows("class", y, g, count=60, seed=0)
    assert np.bincount(y[by_class]).tolist() == [30, 30]
    by_group = drawn_rows("group", y, g, count=62, seed=0)
    counts = np.bincount(g[by_group])
    assert counts.max() - counts[counts > 0].min() <= 1
    assert not np.array_equal(by_group, drawn_rows("group", y, g, count=62, seed=1))
    assert [len(rows) for rows in batches(np.arange(70), 64)] == [64]
    assert [len(rows) for rows in batches(np.arange(96), 64)] == [64, 32]
    assert [len(rows) for rows in batches(np.arange(5), 64)] == [5]


def test_batch_norm_without_statistics_is_refused(trained):
    root, data, (_, a, _) = trained
    model = load_checkpoint(root, a.digest, CPU)
    for one in model.module.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            one.running_mean = None
            break
    inputs = open_inputs(data, "train", model.preprocessing)
    with pytest.raises(ServiceError, match="keeps no running statistics") as caught:
        reestimate(model, inputs, measured(data).positions(), device=CPU, beat=lambda _: None)
    assert caught.value.kind == ErrorKind.INCOMPATIBLE_CHECKPOINTS
