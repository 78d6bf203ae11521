"""What every fleet does: the same for processes of this machine and for a cluster."""

import os
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest
from fleet_driver import PYTHON_PATH, fleet_of
from ray_clusters import ray_cluster  # noqa: F401

from penult_proto.errors import ErrorKind
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports
from penult_server.jobs.fleets.fleet import MOST_DEATHS, WorkerDiedError

DEADLINE = 60.0
"""Seconds that anything may take."""


@pytest.fixture(scope="module")
def its_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHON_PATH)
        yield


@pytest.fixture(scope="module", params=["local", "ray"])
def kind(request, its_path):
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return request.param


class Fleets:
    """One fleet at a time: Ray has one connection in a process."""

    def __init__(self, kind):
        self._kind = kind
        self.now = None

    def open(self, *, anew=False):
        if self.now is None or anew:
            self.close()
            self.now = fleet_of(self._kind)
        return self.now

    def close(self):
        if self.now is not None:
            self.now.close()
            self.now = None


@pytest.fixture(scope="module")
def fleets(kind):
    made = Fleets(kind)
    yield made
    made.close()


@pytest.fixture
def shared(fleets):
    """The fleet of all tests that neither cancel nor close it."""
    return fleets.open()


@pytest.fixture
def new(fleets):
    """A fleet for this test."""
    yield fleets.open(anew=True)
    fleets.close()


def outcomes(fleet, orders, *, at_once=2, entry="extract_range"):
    return dict(fleet.tasks(entry, orders, at_once=at_once))


def wait_until(holds, what, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def when(holds, act):
    """Do something as soon as something holds, in another thread."""
    threading.Thread(target=lambda: (wait_until(holds, "what is waited for"), act()), daemon=True).start()


def alive(folder: Path) -> list[int]:
    """Of the processes that have told of themselves there, those that have not ended."""
    return [int(name) for name in os.listdir(folder) if _lives(int(name))]


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("at_once", [1, 2])
def test_every_order_is_answered_once(shared, at_once):
    n = 200
    found = list(shared.tasks("extract_range", ({"do": "echo", "what": i} for i in range(n)), at_once=at_once))
    assert sorted(index for index, _ in found) == list(range(n))
    assert all(outcome.value()["said"] == index for index, outcome in found)


def test_it_says_how_many_suit_it(kind, shared):
    assert shared.usual_at_once() == 1  # of this machine's two cores, or of one node that has them
    ((_, outcome),) = shared.tasks("extract_range", [{"do": "echo", "what": 1}], at_once=1)
    assert (outcome.value()["pid"] == os.getpid()) is shared.does_one_here is (kind == "local")


def test_the_entry_is_the_one_that_was_named(shared):
    assert outcomes(shared, [{"do": "x"}], entry="other")[0].value() == {"other": "x"}
    assert outcomes(shared, []) == {}


def test_an_order_of_a_megabyte_arrives(shared):
    assert outcomes(shared, [{"do": "length", "what": "x" * 2**20}])[0].value() == {"length": 2**20}


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_keeps_its_kind_and_is_no_reason_to_try_again(shared, tmp_path, at_once):
    attempts = tmp_path / "attempts"
    refused, bug, fine = (
        {"do": "refuse", "attempts": str(attempts)},
        {"do": "bug"},
        {"do": "echo", "what": "fine"},
    )
    found = outcomes(shared, [refused, bug, fine], at_once=at_once)
    with pytest.raises(ServiceError, match="no file of that name") as error:
        found[0].value()
    assert error.value.kind is ErrorKind.FILES_MISSING
    assert error.value.metadata == {"node": "seven", "n": "3"}
    assert attempts.read_text(encoding="utf-8") == "."
    assert found[1].error.kind is ErrorKind.INTERNAL
    assert found[2].value()["said"] == "fine"


def test_a_task_whose_process_dies_is_done_again_but_not_for_ever(shared, tmp_path):
    once, always = ({"do": "die", "deaths": str(tmp_path / str(n)), "times": n} for n in (1, 99))
    found = outcomes(shared, [once, always, {"do": "echo", "what": "fine"}])
    assert found[0].value() == {"lives": True}
    assert (tmp_path / "1").stat().st_size == 2
    assert (tmp_path / "99").stat().st_size == MOST_DEATHS
    assert found[2].value()["said"] == "fine"
    with pytest.raises(WorkerDiedError):
        found[1].value()


def test_no_more_are_under_way_than_were_asked_for(shared):
    taken = count()
    last = 0

    def orders():
        nonlocal last
        for last in taken:
            yield {"do": "echo", "what": last}

    answers = shared.tasks("extract_range", orders(), at_once=2)
    for n in range(1, 6):
        next(answers)
        # Two under way, one that waits for room, and those that are answered.
        assert last <= n + 2
    answers.close()
    assert outcomes(shared, [{"do": "echo", "what": 1}])[0].value()["said"] == 1


def test_who_leaves_leaves_nothing_running(shared, tmp_path):
    first = {"do": "environment", "alive": str(tmp_path), "n": 2, "names": []}
    answers = shared.tasks("extract_range", [first, {"do": "deaf", "alive": str(tmp_path)}], at_once=2)
    assert next(answers)[0] == 0
    answers.close()
    wait_until(lambda: not alive(tmp_path), "the end of tasks that nobody waits for")


def gang(fleet, what, size, reports=None, log=""):
    order = JobOrder(device="cpu", dataset_digest=what, log=str(log))
    return fleet.gang(order, size, reports or Reports(lambda message: None))


def test_a_gang_of_one_reports_and_answers(shared):
    said = []
    assert gang(shared, "meet", 1, Reports(said.append)).run.id == "1 of 1"
    kinds = [message.WhichOneof("kind") for message in said if message.progress.stage in ("training", "")]
    assert kinds == ["progress", "saved"]
    with pytest.raises(ServiceError, match="not finite") as error:
        gang(shared, "refuse", 1)
    assert error.value.kind is ErrorKind.DIVERGED
    assert error.value.metadata["step"] == "7"


def test_the_first_of_a_gang_stores_nothing_without_an_answer(shared):
    asked = []

    def hear(message):
        if message.HasField("holds"):
            asked.append(message.holds)
            reports.held(message.holds)

    reports = Reports(hear)
    assert gang(shared, "store", 1, reports).run.id == "1 of 1"
    assert asked == [1, 2, 3]


def test_a_gang_of_two_meets(shared):
    said = []
    assert gang(shared, "meet", 2, Reports(said.append)).run.id == "3 of 2"
    assert said[-1].saved == 3.5
    assert sum(message.progress.stage == "training" for message in said) == 1


def test_one_death_ends_a_gang_and_its_driver(kind, shared, tmp_path):
    if kind == "ray":  # its driver is told, and ends by that
        with pytest.raises(WorkerDiedError):
            gang(shared, "die", 2, log=tmp_path / "alive")
    else:  # the first of the gang is the driver
        with drive(kind, "die", tmp_path / "alive") as driver:
            printed, errors = driver.communicate(timeout=DEADLINE * 2)
        assert driver.returncode != 0
        # It is nobody's error: nothing is reported, and the queue takes the run up again.
        assert "error" not in printed.split("\n")
        assert "ended with exit status -9" in errors
    if (tmp_path / "alive").exists():
        wait_until(lambda: not alive(tmp_path / "alive"), "the end of the gang")


def test_a_task_that_is_cancelled_ends_if_not_by_itself(new, tmp_path):
    orders = ({"do": do, "alive": str(tmp_path)} for do in ("wait", "deaf", "wait"))
    when(lambda: len(os.listdir(tmp_path)) >= 2, new.cancel)
    with pytest.raises(ServiceError) as error:
        next(new.tasks("extract_range", orders, at_once=2))
    assert error.value.kind is ErrorKind.CANCELLED
    new.close()
    wait_until(lambda: not alive(tmp_path), "the end of cancelled tasks")


def test_a_gang_that_is_cancelled_ends(new, tmp_path):
    folder = tmp_path / "alive"
    when(lambda: folder.exists() and os.listdir(folder), new.cancel)
    with pytest.raises(ServiceError) as error:
        gang(new, "wait", 1, log=folder)
    assert error.value.kind is ErrorKind.CANCELLED


def drive(kind, what, folder):
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("fleet_driver.py"), kind, what, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_driver_that_is_killed_leaves_nothing_running(kind, tmp_path):
    with drive(kind, "tasks", tmp_path) as driver:
        wait_until(lambda: len(os.listdir(tmp_path)) == 2, "two tasks")
        driver.kill()
        driver.communicate()
        wait_until(lambda: not alive(tmp_path), "the end of the tasks of a driver that was killed")
