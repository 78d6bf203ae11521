"""Several runs in one request, and several processes for one run."""

import os
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

import penult
from penult_proto.v1 import jobs_pb2

VIT = {"backbone": "test_vit", "pretrained": False, "batch_size": 7, "inputs": penult.Images(size=32)}


@pytest.fixture(scope="module")
def shapes(client, table):
    return client.datasets.register("shapes", table)


def weights_of(client, checkpoint):
    return load_file(f"{client.info().root}/checkpoints/{checkpoint.digest}/model.safetensors")


def test_a_sweep_in_one_request(client, shapes, tiny):
    group = client.finetunes(
        [{"balance": "none"}, {"balance": "mixture", "by": "group", "ratio": "dataset"}],
        seeds=[0, 1],
        dataset="shapes",
        epochs=1,
        evaluate=["val"],
        **tiny,
    )
    runs = group.wait()
    asked = [(run.spec.balance, run.spec.seed) for run in runs]
    assert asked == [("none", 0), ("none", 1), ("mixture", 0), ("mixture", 1)]
    assert runs[2].spec.ratio == "dataset"
    assert len({run.checkpoints[-1].digest for run in runs}) == 4
    # Asked again, one by one: the same jobs.
    assert client.finetune(dataset="shapes", epochs=1, evaluate=["val"], seed=1, **tiny).id == group[1].id
    repeated = client.finetune(
        dataset="shapes", epochs=1, repeat=penult.RepeatErrors(runs[0].checkpoints[-1], times=3), **tiny
    ).wait()
    assert repeated.n_train_examples > runs[0].n_train_examples
    assert client.runs.manifest(repeated).spec.repeat == penult.RepeatErrors(runs[0].checkpoints[-1].digest, times=3)
    with pytest.raises(penult.NotFound):
        client.finetune(dataset="shapes", repeat=penult.RepeatErrors("0" * 64, times=3), **tiny)


def test_a_sweep_with_a_point_that_the_server_refuses_starts_nothing(client, shapes, tiny):
    before = [one.id for one in client.jobs.list()]
    common = tiny | {"dataset": "shapes", "epochs": 1, "seed": 77}
    for wrong, said in (
        ({"schedule": penult.Schedule(warmup=2.0)}, "warmup"),
        ({"epochs": 10**6}, "epochs"),
        ({"evaluate": ["nowhere"]}, "nowhere"),
        ({"repeat": penult.RepeatErrors("0" * 64, times=3)}, "no checkpoint"),
    ):
        with pytest.raises((penult.InvalidRequest, penult.NotFound), match=said):
            client.finetunes([{}, {"balance": "subsetting", "by": "group"}, wrong], **common)
    assert [one.id for one in client.jobs.list()] == before


def test_two_processes_train_as_one(client, shapes):
    common = VIT | {"dataset": "shapes", "epochs": 2, "balance": "upweighting", "by": "group"}
    one, two = (
        client.finetune(**common, optimizer=penult.SGD(), compute=penult.Compute(processes=n)).wait() for n in (1, 2)
    )
    assert one.checkpoints[0].digest == two.checkpoints[0].digest
    start, single, shared = (
        weights_of(client, checkpoint) for checkpoint in (one.checkpoints[0], one.checkpoints[-1], two.checkpoints[-1])
    )
    # Equal up to rounding, which is far less than what was learnt.
    learnt = np.sqrt(sum(((single[name] - start[name]) ** 2).sum() for name in single))
    apart = np.sqrt(sum(((single[name] - shared[name]) ** 2).sum() for name in single))
    assert learnt > 0
    assert apart < 1e-3 * learnt
    for alone, together in zip(one.history, two.history, strict=True):
        assert (alone.split, alone.step) == (together.split, together.step)
        assert [group.count for group in alone.metrics.groups] == [group.count for group in together.metrics.groups]
        assert together.metrics.loss == pytest.approx(alone.metrics.loss, rel=1e-3)


def test_processes_with_batch_normalisation_measure_what_they_store(client, shapes, tiny):
    """72 examples in steps of 23: the last has 3, which two processes cannot share in parts of two or more."""
    common = tiny | {"dataset": "shapes", "epochs": 1, "batch_size": 23, "evaluate": ["val"]}
    two = penult.Compute(processes=2)
    run = client.finetune(**common, compute=two).wait()
    val = client.extract(run.checkpoints[-1], splits=["val"]).wait()["val"]
    evaluated = client.evaluate(run.checkpoints[-1], val)
    assert run.metrics("val").loss == pytest.approx(evaluated.loss, rel=1e-4)
    with pytest.raises(penult.InvalidRequest, match=r"batch_size must be .* 4 with compute=Compute\(processes=2"):
        client.finetune(**common | {"batch_size": 3}, compute=two).wait()


def test_a_process_that_is_killed_takes_the_run_with_it_and_it_goes_on(client, shapes):
    common = VIT | {"dataset": "shapes", "epochs": 6, "evaluate": ["val"]}
    two = penult.Compute(processes=2)
    job = client.finetune(**common, compute=two, record=penult.Record(save_every=1))
    request = jobs_pb2.WatchJobRequest(id=job.id)
    with job._connection.stream(job._connection.stubs.jobs.WatchJob, request, timeout=120) as events:
        next(event for event in events if event.HasField("metrics"))
    ranks = [pid for pid in os.listdir("/proc") if pid.isdigit() and is_rank_of_ours(pid)]
    assert len(ranks) == 1
    os.kill(int(ranks[0]), signal.SIGKILL)
    run = job.wait()
    assert job.attempt == 2
    assert client.runs.manifest(run).resumed_at[0] > 0
    undisturbed = client.finetune(**common, compute=two).wait()
    assert [one.digest for one in run.checkpoints] == [one.digest for one in undisturbed.checkpoints]


def is_rank_of_ours(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            is_rank = "penult_server.jobs.rank\0" in file.read()
        while is_rank and pid not in ("0", "1", str(os.getpid())):
            with open(f"/proc/{pid}/stat") as file:
                pid = file.read().rsplit(")", 1)[1].split()[1]
    except OSError:
        return False
    return is_rank and pid == str(os.getpid())
