"""What every test may rely on: nothing of this user's, nothing of the network."""

import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--benchmarks", action="store_true", help="run benchmarks at full size (they are tests at a small one)"
    )


@pytest.fixture(scope="session")
def at_full_size(request: pytest.FixtureRequest) -> bool:
    """Whether benchmarks measure, or only show that they run."""
    return bool(request.config.getoption("--benchmarks"))


@pytest.fixture
def set_budget(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes fields of the kernels' memory budget for one test."""
    # Tests of the client run where the kernels are not installed.
    from penult_kernels import budget

    return lambda **fields: monkeypatch.setattr(budget, "DEFAULT", replace(budget.DEFAULT, **fields))
