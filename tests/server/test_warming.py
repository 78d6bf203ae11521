"""Kernels compiled ahead: what is asked, and that nothing depends on it."""

import logging
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from counting import asarray

import penult_kernels
from penult_kernels import budget
from penult_server.compute import warming
from penult_server.compute.backend import Backend
from penult_server.compute.rows.device_rows import OWN_SOURCES, own_source

NUMPY = Backend(np, "numpy", "cpu")
CUPY = Backend(np, "cupy", "a GPU")
"""By its name alone."""


def test_every_source_of_our_own_is_compiled_ahead(monkeypatch):
    stems = {path.stem for path in (Path(penult_kernels.__file__).parent / "cuda").glob("*.cu")}
    # What is applied to elements is no kernel by itself; the questions about refits have it compiled.
    assert stems == {*OWN_SOURCES, "elements"}
    made: list[object] = []
    monkeypatch.setattr(warming, "CudaCenter", made.append)
    for name in OWN_SOURCES:
        assert "__global__ void" in own_source(name)
        with pytest.raises(TypeError):
            warming.own_kernel(name, NUMPY)
    assert len(made) == len(OWN_SOURCES)
    assert {f"source {name}" for name in OWN_SOURCES} <= set(warming.questions(NUMPY))


def test_every_question_can_be_asked_and_a_failure_is_a_line(caplog):
    with caplog.at_level(logging.WARNING, "penult.compute"):
        failed = warming.ask_all(NUMPY)
    # NumPy compiles no CUDA.
    assert failed == ["source center_rows"]
    assert "kernels of source center_rows are not compiled ahead: AttributeError" in caplog.text


def test_it_is_asked_once_on_each_device(tmp_path, monkeypatch):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cupy"))
    monkeypatch.setattr(warming, "COMMAND", ("cat",))
    assert warming.start(NUMPY) is None
    assert warming.mark(CUPY) != warming.mark(Backend(np, "cupy", "another GPU"))
    process = warming.start(CUPY)
    assert process is not None
    assert process.stdin is not None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    # It ends when whoever started it does.
    process.stdin.close()
    assert process.wait(30) == 0
    place = warming.mark(CUPY)
    place.parent.mkdir(parents=True)
    place.touch()
    assert warming.start(CUPY) is None


def test_of_several_workers_one_compiles(tmp_path, monkeypatch):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cupy"))
    asked = []

    def ask_all(backend: Backend) -> list[str]:
        asked.append(backend.device)
        if len(asked) == 1:  # meanwhile a second worker starts, and one with another device
            assert not warming.warm(CUPY)
            assert warming.warm(Backend(np, "cupy", "another GPU"))
        return []

    monkeypatch.setattr(warming, "ask_all", ask_all)
    assert warming.warm(CUPY)
    assert asked == ["a GPU", "another GPU"]
    assert warming.start(CUPY) is None


def test_a_process_that_cannot_start_is_a_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(warming, "COMMAND", (str(tmp_path / "missing"),))
    with caplog.at_level(logging.WARNING, "penult.compute"):
        assert warming.start(CUPY) is None
    assert "kernels are not compiled ahead" in caplog.text


@pytest.mark.parametrize(("gigabytes", "times"), [(4, 1), (16, 2), (139, 16)])
def test_steps_grow_with_the_memory_of_a_device(monkeypatch, gigabytes, times):
    monkeypatch.setattr(budget, "DEVICE", None)
    warming.take_larger_steps(NUMPY)
    assert budget.DEVICE is None
    info = lambda: (0, gigabytes * 2**30)  # noqa: E731
    xp = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(memGetInfo=info)))
    warming.take_larger_steps(Backend(xp, "cupy", "a GPU"))
    of_host, device = budget.Budget(), asarray(np.ones(2))
    assert budget.of(device).rows_per_tile == times * of_host.rows_per_tile
    assert budget.of(device).columns_bytes == of_host.columns_bytes
    # What is solved on the host takes the host's steps.
    assert budget.of(np.ones(2)) == of_host
