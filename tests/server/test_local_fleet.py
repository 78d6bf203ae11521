"""What is this machine's own in its fleet: devices, threads, and that nothing crosses where nothing has to."""

import os

import pytest
from fleet_driver import PYTHON_PATH, fleet_of

from penult_server.jobs.fleets import entries
from penult_server.jobs.fleets.fleet import Capacity
from penult_server.machine.gpus import VISIBLE


def test_every_entry_is_there():
    for name in entries.ENTRIES:
        assert callable(entries.find(entries.TABLE, name))
    with pytest.raises(KeyError):
        entries.find(entries.TABLE, "os:system")


def test_one_at_a_time_is_done_in_this_process_and_tells_how_far_it_is():
    fleet = fleet_of("local")
    (found,) = fleet.tasks("extract_range", [{"do": "echo", "what": 1}], at_once=1)
    assert found[1].value()["pid"] == os.getpid()


def test_each_process_has_a_device_and_a_share_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PYTHON_PATH)
    monkeypatch.setenv(VISIBLE, "4,GPU-b,6")
    monkeypatch.setattr("penult_server.jobs.fleets.local.usable_cores", lambda: 12)
    fleet = fleet_of("local")
    fleet._device = "auto"
    assert fleet.capacity() == Capacity(cpus=12, gpus=3)
    order = {"do": "environment", "alive": str(tmp_path), "n": 3, "names": [VISIBLE, "OMP_NUM_THREADS"]}
    answers = [one.value() for _, one in fleet.tasks("extract_range", [order] * 3, at_once=3)]
    fleet.close()
    assert {one[VISIBLE] for one in answers} == {"4", "GPU-b", "6"}
    assert {one["OMP_NUM_THREADS"] for one in answers} == {"4"}
