"""What a run that was killed resumes from, until it has ended.

`runs/<id>/training_state.safetensors` on the root's disk; where the root has a bucket, there, as
`training_state.<attempt>.safetensors`: an attempt that is over, but goes on, replaces no other's, and the highest that
is whole counts. Where a run ended for a reason that lies outside it (its worker died too often, no memory, a full disk)
the state is kept, and moves to the next run that is asked to do the same.
"""

import contextlib
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from penult_server.stores.disk.durable import SAFETENSORS_PREFIX, STAGING_PREFIX, sync_place
from penult_server.stores.disk.state_damage import damage_of_state
from penult_server.stores.places.fence import check_fence
from penult_server.stores.places.opening import copies_of
from penult_server.stores.places.store import Shared
from penult_server.stores.runs import FOLDER, run_directory

STATE_NAME = "training_state.safetensors"
_OF_ATTEMPT = re.compile(r"training_state\.(\d+)\.safetensors")


def state_file(root: Path, run_id: str) -> Path:
    """Where a run has its training state on the disk while it is going on."""
    return run_directory(root, run_id) / STATE_NAME


def fetch_state(root: Path, run_id: str) -> Path:
    """Where the state to resume from is to be read, if there is one; fetched from the bucket first, if need be."""
    path = state_file(root, run_id)
    copies = copies_of(root)
    for one in _in_bucket(root, run_id):
        if copies is None or not copies.read_shared(one, FOLDER, path):
            continue
        if not (damage := damage_of_state(path)):
            break
        sys.stderr.write(f"the training state {one.file} {damage}; an earlier one is looked for\n")
        path.unlink()
    return path


def publish_state(root: Path, run_id: str, attempt: int) -> None:
    """Move what was written to `state_file` to the bucket, where the root has one. Raises what the fence raises."""
    copies = copies_of(root)
    if copies is None:
        return
    check_fence()
    path = state_file(root, run_id)
    copies.share(FOLDER, run_id, _name(attempt), np.memmap(path, np.uint8, mode="r"))
    copies.unshare(FOLDER, run_id, [one.file for one in _in_bucket(root, run_id) if _attempt(one.file) < attempt])
    path.unlink()


def has_state(root: Path, run_id: str) -> bool:
    """Whether a run has left one."""
    return state_file(root, run_id).exists() or bool(_in_bucket(root, run_id))


def damaged_states(root: Path, run_id: str) -> list[str]:
    """What is wrong with a run's state, in the words of `damage_of_state`; nothing where it is whole, or has none."""
    path, copies = state_file(root, run_id), copies_of(root)
    found = [damage_of_state(path)] if path.exists() else []
    for one in _in_bucket(root, run_id):
        with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=root) as folder:
            fetched = Path(folder) / one.file
            if copies is not None and copies.read_shared(one, FOLDER, fetched):
                found.append(damage_of_state(fetched))
    return [one for one in found if one]


def state_bytes(root: Path) -> dict[str, int]:
    """Bytes of the states in the bucket, by run."""
    found: dict[str, int] = {}
    for one in _states(root):
        found[one.name] = found.get(one.name, 0) + one.size
    return found


def runs_with_state(root: Path) -> list[str]:
    """Ids of the runs that have a training state."""
    on_disk = {path.parent.name for path in root.glob(f"{FOLDER}/*/{STATE_NAME}")}
    return sorted(on_disk | {one.name for one in _states(root)})


def adopt_training_state(root: Path, run_id: str, earlier: Sequence[str]) -> None:
    """Give a run the training state that the first of the `earlier` runs left which has one; its own comes first."""
    if has_state(root, run_id):
        return
    own = state_file(root, run_id)
    for other in earlier:
        left = fetch_state(root, other)
        if left.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # deleted just now
                left.replace(own)
            sync_place(own)
            if own.exists():
                publish_state(root, run_id, 0)
                _forget_in_bucket(root, other)
                return


def discard_training_state(root: Path, run_id: str) -> None:
    """Remove the training state of a run that has ended, and what a killed writer left of one."""
    path = state_file(root, run_id)
    staged = (f"{STAGING_PREFIX}{path.name}-*", f"{SAFETENSORS_PREFIX}*")
    for leftover in (path, *(one for pattern in staged for one in path.parent.glob(pattern))):
        leftover.unlink(missing_ok=True)
    _forget_in_bucket(root, run_id)


def _forget_in_bucket(root: Path, run_id: str) -> None:
    copies, there = copies_of(root), _in_bucket(root, run_id)
    if copies and there:
        copies.unshare(FOLDER, run_id, [one.file for one in there])


def _in_bucket(root: Path, run_id: str) -> list[Shared]:
    """A run's states in the bucket, that of the last attempt first."""
    return sorted(_states(root, run_id), key=lambda one: _attempt(one.file), reverse=True)


def _states(root: Path, run_id: str = "") -> list[Shared]:
    copies = copies_of(root)
    return [one for one in copies.shared(FOLDER, run_id) if _attempt(one.file) >= 0] if copies else []


def _name(attempt: int) -> str:
    return f"training_state.{attempt}.safetensors"


def _attempt(file: str) -> int:
    """The attempt whose state a file is; -1 for another file."""
    found = _OF_ATTEMPT.fullmatch(file)
    return int(found[1]) if found else -1
