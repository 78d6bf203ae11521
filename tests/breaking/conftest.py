"""One process for all trials of a session, and two stores to begin from."""

import sys
from collections.abc import Iterator

import pytest
from tally import Tally
from trials import Child, Stage, make_stage


@pytest.fixture(scope="session")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    child = Child(tmp_path_factory.mktemp("child") / "log")
    yield child
    child.close()


@pytest.fixture(scope="session")
def stage(child: Child, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A store with a little of everything."""
    return make_stage(tmp_path_factory.mktemp("full"), child)


@pytest.fixture(scope="session")
def fresh(child: Child, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A store with nothing in it."""
    return make_stage(tmp_path_factory.mktemp("fresh"), child, is_empty=True)


@pytest.fixture
def tally(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Tally]:
    """Counts what a test tries; a long one says so."""
    tally = Tally()
    yield tally
    if request.node.get_closest_marker("slow"):
        with capsys.disabled():
            said = ", ".join(f"{count} {what}" for what, count in sorted(tally.counts.items()))
            sys.stdout.write(f"\n{request.node.name}: {said} ")
