"""Power that goes at any moment: of what was not flushed anything may be missing, of what was told nothing.

Which states a disk may then be in is computed from a record of an operation (see `power`); a server is started on
each, or in the short version on some.
"""

import pickle
import shutil

import pytest
from picking import spread
from power import Replay, State
from tally import Tally
from trials import Stage

KEPT = ("upload", "register", "finetune", "extract", "bring", "describe", "delete")


def states_of(stage: Stage, operation: str, tally: Tally) -> list[State]:
    replay = Replay(stage.template)
    states = list(replay.states(pickle.loads(stage.undisturbed(operation)["recorded"].read_bytes())))
    tally.count("power cuts", replay.count)
    tally.count("different states", len(states))
    return states


def hold_after_power_cut(stage: Stage, operation: str, state: State, tally: Tally) -> None:
    root = stage.copy()
    shutil.rmtree(root)
    root.mkdir()
    state.write(root)
    assert stage.reopened(root, operation, list(state.told)) == [], state.why
    tally.count("starts")


@pytest.mark.parametrize("operation", ["upload", "register"])
def test_what_was_told_by_a_new_store_survives_a_power_cut(fresh: Stage, operation: str, tally: Tally) -> None:
    """Its folders are new, too."""
    states = states_of(fresh, operation, tally)
    assert len(states) > 4
    for state in [states[place] for place in spread(len(states), 3)]:
        hold_after_power_cut(fresh, operation, state, tally)


@pytest.mark.parametrize("operation", ["finetune", "bring", "delete"])
def test_what_was_told_survives_a_power_cut(stage: Stage, operation: str, tally: Tally) -> None:
    states = states_of(stage, operation, tally)
    assert len(states) > 4
    for state in [states[place] for place in spread(len(states), 2)]:
        hold_after_power_cut(stage, operation, state, tally)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operation", KEPT)
def test_every_state_after_a_power_cut(stage: Stage, operation: str, tally: Tally) -> None:
    for state in tally.in_time(states_of(stage, operation, tally)):
        hold_after_power_cut(stage, operation, state, tally)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operation", ["upload", "register", "fill"])
def test_every_state_of_a_new_store_after_a_power_cut(fresh: Stage, operation: str, tally: Tally) -> None:
    for state in tally.in_time(states_of(fresh, operation, tally)):
        hold_after_power_cut(fresh, operation, state, tally)


def test_a_replay_knows_what_was_not_flushed(tmp_path) -> None:
    """A file that was renamed into place without being flushed may be empty, and its name may be missing."""
    (tmp_path / "things").mkdir()
    steps = [
        ("create", "things/new", "x"),
        ("write", "things/new", 0, b"word"),
        ("rename", "things/new", "things/it"),
        ("fsync", "things"),
        ("ack", "has it"),
    ]
    after = [one for one in Replay(tmp_path).states(steps) if one.told]
    assert {one.files["things/it"] for one in after} == {b"", b"\0" * 4, b"wo", b"word"}
    flushed = [*steps[:2], ("fsync", "things/new"), *steps[2:3], ("ack", "has it")]
    after = [one for one in Replay(tmp_path).states(flushed) if one.told]
    assert {tuple(one.files.items()) for one in after} == {(), (("things/new", b"word"),), (("things/it", b"word"),)}
