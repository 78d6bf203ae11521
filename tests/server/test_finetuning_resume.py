"""Runs that are killed by SIGKILL go on where they were, and end with the same weights, bit for bit."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest
import torch
from finetuning_data import Recorder, squares, tiny_bert
from killed_run import run_squares
from numpy.testing import assert_array_equal

from penult_kernels.sampling.balancing import BalanceBy, BalanceMethod
from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.history import record_to_json
from penult_server.finetuning.objective import Objective
from penult_server.finetuning.start import Start
from penult_server.finetuning.train import FinetuneOutcome, finetune
from penult_server.stores.runs import read_run_manifest
from penult_server.stores.training_states import discard_training_state, state_file

CPU = torch.device("cpu")
SCRIPT = Path(__file__).with_name("killed_run.py")
N_STEPS = 12


@pytest.fixture(autouse=True)
def one_thread():
    """Bits depend on the number of threads: parent and child take one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def kill_run():
    """Runs and kills; see killed_run.py."""
    with subprocess.Popen([sys.executable, str(SCRIPT)], stdin=PIPE, stdout=PIPE, text=True) as process:

        def kill(root: Path, when: str, backbone: str, save_every: int) -> None:
            process.stdin.write(json.dumps([str(root), when, backbone, save_every]) + "\n")
            process.stdin.flush()
            assert int(process.stdout.readline()) == signal.SIGKILL

        yield kill
        process.stdin.close()


def steps_of(context: Recorder) -> list[float]:
    return [done for stage, done, _, _ in context.steps if stage.startswith("epoch") and ":" not in stage]


def content(outcome: FinetuneOutcome) -> object:
    weights = [(one.step, one.epoch, one.weights_digest) for one in outcome.checkpoints]
    # Text, because NaN is not equal to itself.
    return weights, json.dumps([record_to_json(one) for one in outcome.history])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> object:
    torch.set_num_threads(1)
    return content(run_squares(tmp_path_factory.mktemp("whole"), Recorder(), "test_resnet", 4))


# Kept after steps 4, 6 (an epoch), 8 and 12; measured and stored after 3, 6, 9 and 12.
@pytest.mark.parametrize(
    ("when", "resumed_at"),
    [
        ("progress 3", []),
        ("progress 5", [4]),
        ("metrics 2", [4]),
        ("checkpoint 3", [4]),
        ("progress 8", [6]),
        ("replace 3", [6]),
        ("checkpoint 5", [8]),
    ],
)
def test_a_killed_run_ends_with_equal_bits(
    tmp_path: Path, kill_run, undisturbed: object, when: str, resumed_at: list[int]
) -> None:
    kill_run(tmp_path, when, "test_resnet", 4)
    context = Recorder()
    outcome = run_squares(tmp_path, context, "test_resnet", 4)
    assert outcome.resumed_at == resumed_at
    first = resumed_at[0] if resumed_at else 0
    assert steps_of(context) == list(range(first + 1, N_STEPS + 1))
    assert content(outcome) == undisturbed
    assert read_run_manifest(tmp_path, "run-1").resumed_at == resumed_at
    # Also those of the first attempt: the job that goes on may be another, which has its state from a failed one.
    assert {one.digest for one in context.stored} == {one.digest for one in outcome.checkpoints}


def test_a_state_whose_checkpoints_were_deleted_is_not_resumed_from(
    tmp_path: Path, kill_run, undisturbed: object
) -> None:
    kill_run(tmp_path, "progress 8", "test_resnet", 4)
    shutil.rmtree(next((tmp_path / "checkpoints").iterdir()))
    context = Recorder()
    outcome = run_squares(tmp_path, context, "test_resnet", 4)
    assert outcome.resumed_at == []
    assert steps_of(context) == list(range(1, N_STEPS + 1))
    assert content(outcome) == undisturbed


def test_killed_twice_with_dropout_in_a_text_model(tmp_path: Path, kill_run) -> None:
    bert = tiny_bert(tmp_path / "bert")
    expected = content(run_squares(tmp_path / "whole", Recorder(), bert, 1))
    for when in ("progress 2", "replace 4"):
        kill_run(tmp_path / "store", when, bert, 1)
    outcome = run_squares(tmp_path / "store", Recorder(), bert, 1)
    assert outcome.resumed_at == [1, 4]
    assert content(outcome) == expected


def test_a_finished_run_whose_end_nobody_heard_trains_no_step_again(tmp_path: Path, undisturbed: object) -> None:
    run_squares(tmp_path, Recorder(), "test_resnet", 4)
    context = Recorder()
    assert content(run_squares(tmp_path, context, "test_resnet", 4)) == undisturbed
    assert steps_of(context) == []
    discard_training_state(tmp_path, "run-1")
    assert [path.name for path in (tmp_path / "runs" / "run-1").iterdir()] == ["manifest.json"]


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-100] ^= 1
    path.write_bytes(raw)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("harm", [damage, truncate])
def test_a_damaged_state_is_not_gone_on_from(tmp_path: Path, kill_run, undisturbed: object, harm) -> None:
    kill_run(tmp_path, "progress 9", "test_resnet", 4)
    harm(state_file(tmp_path, "run-1"))
    outcome = run_squares(tmp_path, Recorder(), "test_resnet", 4)
    assert outcome.resumed_at == []
    assert content(outcome) == undisturbed


CONFIG = FinetuneConfig(backbone="test_vit", pretrained=False, epochs=1, batch_size=8, evaluate=("val",))


def test_another_configuration_is_another_run(tmp_path: Path) -> None:
    def run(config: FinetuneConfig) -> FinetuneOutcome:
        return finetune(config, squares(), root=tmp_path, device=CPU, context=Recorder(), run_id="run-1")

    run(CONFIG)
    assert run(replace(CONFIG, learning_rate=0.5)).resumed_at == []
    assert run(replace(CONFIG, learning_rate=0.5)).resumed_at == [3]


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.05},
        {"objective": Objective(loss="group_dro", group_dro_rate=0.5)},
        {"objective": Objective(mixup=0.4), "crop_scale": 0.5, "accumulate": 3},
        {"precision": "fp16"},
    ],
    ids=["momentum", "group weights", "random crops and mixtures", "loss scale"],
)
def test_every_kind_of_state_is_kept(tmp_path: Path, change: dict[str, object]) -> None:
    config = replace(CONFIG, save_every=1, **change)
    expected = finetune(config, squares(), root=tmp_path / "whole", device=CPU, context=Recorder(), run_id="run-1")
    with pytest.raises(ServiceError) as caught:
        finetune(config, squares(), root=tmp_path, device=CPU, context=Recorder(cancel_at=3), run_id="run-1")
    assert caught.value.kind is ErrorKind.CANCELLED
    outcome = finetune(config, squares(), root=tmp_path, device=CPU, context=Recorder(), run_id="run-1")
    assert outcome.resumed_at == [2]
    assert content(outcome) == content(expected)


def test_the_manifest_is_enough_to_run_again(tmp_path: Path) -> None:
    dataset = squares()
    config = replace(CONFIG, method=BalanceMethod.SUBSETTING, by=BalanceBy.GROUP, seed=3)
    outcome = finetune(config, dataset, root=tmp_path, device=CPU, context=Recorder(), run_id="run-1")
    manifest = read_run_manifest(tmp_path, "run-1")
    assert (manifest.dataset, manifest.dataset_digest) == ("squares", dataset.info.digest)
    assert (manifest.weights, manifest.device, manifest.threads) == ("random", "cpu", 1)
    assert manifest.versions["torch"] == torch.__version__.split("+")[0]
    assert set(manifest.versions) == {"penult", "torch", "timm", "transformers", "numpy", "python"}
    kept = np.isin(dataset.info.split("train").row_id, np.array(manifest.kept_row_ids, dtype=np.uint64))
    assert_array_equal(np.bincount(dataset.info.group_index("train")[kept], minlength=4), [2, 2, 2, 2])

    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in manifest.config.items()}
    parts = {"objective": Objective(**plain["objective"]), "start": Start(**plain["start"])}
    again = FinetuneConfig(**plain | parts)
    assert again == config
    repeated = finetune(again, dataset, root=tmp_path / "again", device=CPU, context=Recorder(), run_id="run-2")
    assert [one.digest for one in repeated.checkpoints] == [one.digest for one in outcome.checkpoints]


def test_no_manifest_of_a_run_that_never_was(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        read_run_manifest(tmp_path, "run-9")
    assert caught.value.kind is ErrorKind.UNKNOWN_RUN
