"""What is asked of a merged checkpoint in the call that merges: its features, and a refit on them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

from penult.arguments import coerce
from penult.arguments.coerce import seconds
from penult.calls.job import Job
from penult.connection.rpc import Connection
from penult.errors import invalid, shown
from penult.results.merging.merge import Merge
from penult.results.records import Checkpoint, FeatureSet
from penult.results.refits import Refit
from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2

KEYS = ("extract", "refit")
USUAL = "val"
"""The split that is fitted on, where it is extracted and no other is named."""


class Then(NamedTuple):
    """Splits to extract (None for all), and the arguments of a refit (None for none)."""

    splits: list[str] | None
    refit: Mapping[str, Any] | None


class Verbs(NamedTuple):
    """What carries it out: `Client.extract` and `Client.refit`."""

    extract: Callable[..., Job[dict[str, FeatureSet]]]
    refit: Callable[..., Refit]


def then_of(value: Mapping[str, Any] | None) -> Then | None:
    """What ``then=`` asks for. Raises `InvalidRequest`."""
    if value is None:
        return None
    given = dict(coerce.items("then", value, 'dict(extract=["val", "test"], refit="dfr")'))
    if unknown := [key for key in given if key not in KEYS]:
        raise invalid(f"then takes {' and '.join(KEYS)}; got {shown(unknown[0])}", argument="then")
    splits = given.get("extract")
    refit = given.get("refit")
    if refit is not None and not isinstance(refit, Mapping):
        refit = {"preset": coerce.text("then['refit']", refit, example="dfr")}
    if refit is None and "extract" not in given:
        raise invalid("then asks for nothing; give extract= splits, refit= a preset, or both", argument="then")
    return Then(
        splits=None if splits is None else coerce.names("then['extract']", splits),
        refit=None if refit is None else dict(cast("Mapping[str, Any]", refit)),
    )


def check_leak(then: Then, chosen_on: str) -> None:
    """Raise `InvalidRequest` (``selection_leak``) where a refit is scored on the split that networks are chosen on.

    Left to itself, `MergeJob` scores on every extracted split but the one that it fits on.
    """
    if then.refit is None or "evaluate" in then.refit:
        return
    usual = USUAL if then.splits is None or USUAL in then.splits else then.splits[0]
    on = then.refit.get("on", usual)
    if chosen_on != on and (then.splits is None or chosen_on in then.splits):
        raise invalid(
            f"the networks are chosen on the split {chosen_on!r}, on which the refit would be scored, too: such a "
            f"score is too high. Choose on another (select=), fit on it (on={chosen_on!r}), or leave it out of extract",
            ErrorKind.SELECTION_LEAK,
            argument="then",
        )


class MergeJob(Job[Merge]):
    """The job of a merge after which more is asked for: `wait` does that, too, with jobs and queries of their own."""

    def __init__(
        self,
        connection: Connection,
        message: jobs_pb2.Job,
        result: Callable[[jobs_pb2.JobResult], Merge],
        then: Then,
        verbs: Verbs,
    ) -> None:
        super().__init__(connection, message, result)
        self._then, self._verbs = then, verbs

    def wait(self, *, progress: bool | None = None, timeout: float | None = None) -> Merge:
        """As `Job.wait`; the merge, its extraction and its refit together."""
        deadline = None if timeout is None else time.monotonic() + seconds(timeout)

        def left() -> float | None:
            return None if deadline is None else max(0.001, deadline - time.monotonic())

        merge = super().wait(progress=progress, timeout=left())
        sets = self._extracted(merge.checkpoint, progress, left())
        if self._then.refit is None:
            return replace(merge, features=sets)
        return replace(merge, features=sets, refit=self._refitted(sets, left()))

    def _extracted(self, checkpoint: Checkpoint, progress: bool | None, left: float | None) -> dict[str, FeatureSet]:
        return self._verbs.extract(checkpoint, splits=self._then.splits).wait(progress=progress, timeout=left)

    def _refitted(self, sets: Mapping[str, FeatureSet], left: float | None) -> Refit:
        """Fitted on one split, evaluated on the others unless the caller says on what."""
        asked = dict(self._then.refit or {})
        on = asked.pop("on", USUAL if USUAL in sets else next(iter(sets)))
        if on not in sets:
            raise invalid(
                f"then['refit']['on'] must be one of the extracted splits, {', '.join(sets)}; got {shown(on)}",
                argument="then",
            )
        asked.setdefault("evaluate", {name: one for name, one in sets.items() if name != on})
        if left is not None:
            asked.setdefault("timeout", left)
        return self._verbs.refit(sets[on], **asked)
