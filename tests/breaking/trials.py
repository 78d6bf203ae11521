"""The side of the tests: a process that does trials, a store to begin from, and copies of it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Child:
    """`child.py`."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("w")
        # PYTHONHASHSEED: the steps of two trials are to be the same.
        environment = os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE / "child.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment
        )
        self._path = log

    def ask(self, **order: Any) -> dict[str, Any]:
        """One trial."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order, default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the process of the trials has ended: {self._path.read_text()[-3000:]}")
        answer = json.loads(line)
        if answer["status"] not in (0, 86):
            raise AssertionError(f"{order} ended with {answer['status']}: {self._path.read_text()[-3000:]}")
        return answer

    def close(self) -> None:
        """Between two trials it has nothing to put in order."""
        self._process.kill()
        self._process.communicate()
        self._log.close()


@dataclass
class Stage:
    """A store with a little of everything, and what comes of each operation on it when nothing goes wrong."""

    child: Child
    template: Path
    told: list[str]
    scratch: Path
    expected: dict[str, dict[str, Any]] = field(default_factory=dict)

    def copy(self) -> Path:
        """A store that may be broken; the last one goes."""
        root = self.scratch / "store" / "root"
        shutil.rmtree(root.parent, ignore_errors=True)
        shutil.copytree(self.template.parent, root.parent)
        return root

    def undisturbed(self, operation: str) -> dict[str, Any]:
        """The answer of an operation whose disk is watched and does not fail."""
        if operation not in self.expected:
            record = self.scratch / f"{operation}.recorded"
            answer = self.child.ask(root=self.copy(), operation=operation, keep=record)
            assert answer["refusal"] == "", answer
            self.expected[operation] = answer | {"recorded": record}
        return self.expected[operation]

    def looked_at(self, root: Path, told: list[str], *, may_fail: bool = False) -> list[str]:
        """What is wrong after a restart."""
        return list(self.child.ask(root=root, told=[*self.told, *told], may_fail=may_fail)["problems"])

    def reopened(self, root: Path, operation: str, told: list[str]) -> list[str]:
        """What is wrong after a restart, and after a second try."""
        answer = self.child.ask(root=root, told=[*self.told, *told], operation=operation)
        found = list(answer["problems"])
        expected = self.undisturbed(operation)["result"]
        if (answer["refusal"], answer["result"]) != ("", expected):
            found.append(f"the second try: {answer['refusal']} {answer['result']}, not {expected}")
        return found


def make_stage(directory: Path, child: Child, *, is_empty: bool = False) -> Stage:
    """The store is made by the server's own code; an empty one has been started once."""
    template = directory / "template" / "root"
    template.mkdir(parents=True)
    answer = child.ask(root=template, operation="prepare" if is_empty else "fill")
    assert answer["refusal"] == "", answer
    return Stage(child, template, answer["told"], directory)
