"""A server that is killed at any call to the disk: what was told is there, nothing is half there, it goes on.

The short version takes a few steps of each operation, the long one (`slow`) every step.
"""

from collections.abc import Iterable

import pytest
from operations import OPERATIONS
from picking import picked
from tally import Tally
from trials import Stage

KILLED = 86
STORED = [one for one in OPERATIONS if one not in ("prepare", "fill")]


def hold_when_killed(stage: Stage, operation: str, steps: Iterable[int], tally: Tally) -> None:
    for at in steps:
        root = stage.copy()
        answer = stage.child.ask(root=root, operation=operation, how="kill", at=at)
        step = stage.undisturbed(operation)["steps"][at]
        assert answer["status"] == KILLED, f"step {at} ({step}) was not reached: {answer}"
        found = stage.reopened(root, operation, answer["told"])
        assert found == [], f"killed before step {at}, {step}"
        tally.count("kills")


@pytest.mark.parametrize("operation", STORED)
def test_a_kill_leaves_all_or_nothing(stage: Stage, operation: str, tally: Tally) -> None:
    steps = stage.undisturbed(operation)["steps"]
    hold_when_killed(stage, operation, picked(steps, 2), tally)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operation", STORED)
def test_a_kill_at_every_step_leaves_all_or_nothing(stage: Stage, operation: str, tally: Tally) -> None:
    steps = stage.undisturbed(operation)["steps"]
    hold_when_killed(stage, operation, tally.in_time(range(len(steps))), tally)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_kill_at_every_step_of_a_new_store(fresh: Stage, tally: Tally) -> None:
    steps = fresh.undisturbed("upload")["steps"]
    hold_when_killed(fresh, "upload", tally.in_time(range(len(steps))), tally)
