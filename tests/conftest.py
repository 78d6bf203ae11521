"""What every test may rely on: nothing of this user's, nothing of the network."""

import gc
import importlib.util
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

# Read by libraries when they are imported, and handed on to the servers that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Address files of test servers must not land beside the user's own.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="penult-test-state-")
os.environ.pop("PENULT_TOKEN", None)
# A server has three processes or more: without it each of them would compile all of its code, for a second and more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell starts what runs in its background with SIGINT ignored, nohup with SIGHUP: and so all that tests start.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# Loading modules leaves no garbage, and every collection meanwhile looks at all of them again; see the hook below.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on collections are as usual, and leave alone what has been loaded."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--benchmarks", action="store_true", help="run benchmarks at full size (they are tests at a small one)"
    )


@pytest.fixture(scope="session")
def at_full_size(request: pytest.FixtureRequest) -> bool:
    """Whether benchmarks measure, or only show that they run."""
    return bool(request.config.getoption("--benchmarks"))


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_products(at_full_size: bool) -> Iterator[None]:
    """The BLAS of this process has one thread, as the compute worker's has: two wait for each other in every small
    product, and beside another process of tests took a quarter more of the processor."""
    # Tests of the client run where this is not installed.
    if at_full_size or importlib.util.find_spec("threadpoolctl") is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture
def set_budget(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes fields of the kernels' memory budget for one test."""
    # Tests of the client run where the kernels are not installed.
    from penult_kernels import budget

    def changed(**fields: int) -> None:
        # A number of rows of a tile is meant as it stands, of few columns, too.
        exactly = {"tile_numbers": 0} if "rows_per_tile" in fields else {}
        monkeypatch.setattr(budget, "DEFAULT", replace(budget.DEFAULT, **exactly, **fields))

    return changed


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server; skipped visibly where there is none."""
    from postgres_server import started

    yield from started()


@pytest.fixture(scope="session")
def shared_registry(postgres: Any) -> str:
    """A database with a registry, which the tests empty in turn: a new one for each takes half a second."""
    from penult_server.registry.database import Database

    url = postgres.database()
    Database(url).close()
    return url


@pytest.fixture
def postgres_url(postgres: Any, shared_registry: str) -> str:
    """An empty registry on the server."""
    from postgres_server import name_of

    from penult_server.registry.tables import TABLES

    tables = ", ".join(sorted(set(TABLES) - {"alembic_version"}))
    postgres.ask(f"TRUNCATE {tables} RESTART IDENTITY", name_of(shared_registry))
    return shared_registry


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """What a registry is opened by."""
    return tmp_path / "penult.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
