"""Jobs that merge, cancelled wherever they ask whether they are; and in a bucket as on a disk.

Those that measure networks first take minutes: ``pytest -m slow tests/server/test_merge_jobs.py``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from finetuning_data import MemoryDataset, Recorder, squares
from moto_s3 import CREDENTIALS, MotoS3

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2, merges_pb2
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.backbones.saving import load_checkpoint
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.start import Start
from penult_server.finetuning.train import finetune
from penult_server.jobs import greedy_work, measured_work, merge_work
from penult_server.stores.checkpoints import read_manifest, read_state, write_checkpoint
from penult_server.stores.places.opening import store_of
from penult_server.stores.places.serving import prepare_store
from penult_server.stores.removal import condemn, remove, set_aside

CPU = torch.device("cpu")
DATA = squares({"train": [4] * 4, "val": [3] * 4})
MEASURED = {"rule": merges_pb2.BATCH_NORM_RULE_REESTIMATE, "batch_size": 8, "count": 16, "stream": 1}
CASES: dict[str, dict] = {
    "uniform": {"batch_norm": MEASURED},
    "greedy": {"select": {"split": "val", "metric": "worst_group"}, "batch_norm": MEASURED},
    "fisher": {"numbers": {"rows": 8}, "row_stream": 1, "batch_norm": {"rule": merges_pb2.BATCH_NORM_RULE_FIRST}},
    "regmean": {
        "numbers": {"rows": 8, "alpha": 0.9},
        "row_stream": 1,
        "batch_norm": {"rule": merges_pb2.BATCH_NORM_RULE_AVERAGE},
    },
}


@pytest.fixture(autouse=True)
def dataset(monkeypatch: pytest.MonkeyPatch) -> MemoryDataset:
    """One in memory, wherever a job opens one."""
    for module in (merge_work, greedy_work, measured_work):
        monkeypatch.setattr(module, "open_dataset", lambda *_: DATA)
        monkeypatch.setattr(module, "check_files", lambda *_: None)
    return DATA


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store, and two runs from one start in it."""
    root = tmp_path_factory.mktemp("disk")

    def run(**config) -> str:
        asked = FinetuneConfig(**{"backbone": "test_resnet", "epochs": 0, "evaluate": ("val",)} | config)
        return finetune(asked, DATA, root=root, device=CPU, context=Recorder(), run_id="").checkpoints[-1].digest

    start = Start(checkpoint=run(pretrained=False), refit="")
    return root, [run(start=start, epochs=1, batch_size=8, seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def bucket(disk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root with the same checkpoints in a bucket."""
    s3, root = MotoS3(), tmp_path_factory.mktemp("bucket")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in CREDENTIALS.items():
            patched.setenv(name, value)
        prepare_store(root, s3.bucket(), s3.endpoint)
        for digest in disk[1]:
            manifest = read_manifest(disk[0], digest)
            write_checkpoint(root, manifest, read_state(disk[0], manifest))
        yield root
    s3.stop()


def merged(root: Path, parents: list[str], method: str, cancel_at: int = -1) -> tuple[jobs_pb2.JobResult, int]:
    """The answer, and how often it was asked whether the job is cancelled."""
    spec = merges_pb2.MergeSpec(
        method=method,
        scope=merges_pb2.MERGE_SCOPE_BODY,
        parents=[merges_pb2.MergeParent(checkpoint=one) for one in sorted(parents)],
        rest=parents[0],
        dataset="squares",
        attribute="hue",
        **CASES[method],
    )
    context = Recorder(cancel_at=cancel_at)
    order = JobOrder(root=str(root), device="cpu", dataset_digest=DATA.info.digest)
    return merge_work.merge_job(order, spec, context), context.asked  # pyright: ignore[reportArgumentType]


def left(root: Path) -> set[str]:
    """Files of the root that are no copies of what a bucket has, and what is in the bucket."""
    files = {str(one.relative_to(root)) for one in root.rglob("*") if one.is_file()}
    found = {one for one in files if not one.startswith("cache/")}
    store = store_of(root)
    return found | ({one.key for one in store.bucket.listed("")} if hasattr(store, "bucket") else set())


def taken_out(root: Path, digest: str) -> None:
    remove(condemn(set_aside([root / "checkpoints" / digest])))


SLOW = [pytest.param(one, marks=pytest.mark.slow) for one in CASES if one != "uniform"]


@pytest.mark.parametrize("method", ["uniform", *SLOW])
@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_a_merge_that_is_cancelled_leaves_nothing(disk, request, place: str, method: str) -> None:
    root = disk[0] if place == "disk" else request.getfixturevalue("bucket")
    before = left(root)
    found, n_asked = merged(root, disk[1], method)
    digest = found.checkpoint.digest
    made = left(root) - before
    assert made
    assert n_asked > 60
    taken_out(root, digest)
    before = left(root)
    fractions = (0, 0.2, 0.4, 0.6, 0.8, 1) if place == "disk" else (0.5, 1)
    for at in sorted({max(1, round(one * n_asked)) for one in fractions}):
        with pytest.raises(ServiceError) as caught:
            merged(root, disk[1], method, cancel_at=at)
        assert caught.value.kind is ErrorKind.CANCELLED
        assert left(root) == before, at
    assert merged(root, disk[1], method)[0].checkpoint.digest == digest
    if place == "bucket":
        assert not list(root.glob("checkpoints/*/*.safetensors")), "no weights lie on the disk"
        assert merged(disk[0], disk[1], method)[0].checkpoint.digest == digest
        assert load_checkpoint(root, digest, CPU).n_classes == 2
    taken_out(root, digest)
