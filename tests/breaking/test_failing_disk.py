"""A full disk, a failing one, files that may not grow: an error of its kind, nothing is lost, and then it works.

Each step of an operation fails once, or, of a full disk, from then on until there is space again. The server lives on,
and is asked again; then it is started anew, and looked at. The short version takes a few steps, the long one every one.
"""

import pytest
from disk import FAILING
from operations import OPERATIONS
from picking import spread
from tally import Tally
from trials import Stage

OFTEN = ("upload", "register", "finetune", "extract", "bring", "describe", "delete")
KINDS = {"ENOSPC": {"disk_full"}, "EIO": {"disk_failed"}, "EFBIG": {"disk_failed", "too_large"}}
FAULTS = [("ENOSPC", False), ("ENOSPC", True), ("EIO", False), ("EFBIG", False)]


def steps_for(stage: Stage, operation: str, how: str) -> list[int]:
    """Steps that an error of this kind comes from."""
    steps = stage.undisturbed(operation)["steps"]
    return [place for place, step in enumerate(steps) if step.split(" ")[0] in FAILING[how]]


def hold_when_it_fails(stage: Stage, operation: str, how: str, at: int, tally: Tally, *, lasts: bool) -> None:
    undisturbed = stage.undisturbed(operation)
    step = f"{how} at step {at}, {undisturbed['steps'][at]}"
    root = stage.copy()
    answer = stage.child.ask(root=root, operation=operation, how=how, at=at, lasts=lasts)
    assert answer["status"] == 0, step
    refused, said = answer["refusal"], answer["result"]
    assert refused in KINDS[how] or (refused, said) == ("", undisturbed["result"]), f"{step}: {refused} {said}"
    again = undisturbed["result"] if operation != "delete" or refused else []
    assert answer["again"] == ["", again], f"{step}, then asked again: {answer['again']}"
    assert stage.looked_at(root, answer["told"], may_fail=True) == [], step
    tally.count(f"{how}{' that lasts' if lasts else ''}")


@pytest.mark.parametrize("operation", OFTEN)
def test_a_failing_disk_loses_nothing(stage: Stage, operation: str, tally: Tally) -> None:
    place = OFTEN.index(operation)
    for how, lasts in (FAULTS[place % 4], FAULTS[(place + 1) % 4]):
        steps = steps_for(stage, operation, how)
        at = steps[(len(steps) * (place + 1)) // (len(OFTEN) + 1)]
        hold_when_it_fails(stage, operation, how, at, tally, lasts=lasts)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one not in ("prepare", "fill")])
def test_a_disk_that_fails_at_any_step_loses_nothing(stage: Stage, operation: str, tally: Tally) -> None:
    trials = [(how, lasts, at) for how, lasts in FAULTS for at in steps_for(stage, operation, how)]
    for how, lasts, at in tally.in_time(trials):
        hold_when_it_fails(stage, operation, how, at, tally, lasts=lasts)


def test_steps_are_spread() -> None:
    assert spread(3, 5) == [0, 1, 2]
    assert spread(101, 3) == [0, 50, 100]
