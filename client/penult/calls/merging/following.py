"""What the call that merges does next: a new head, features of the checkpoint with it, and a refit on them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from penult.arguments import coerce
from penult.arguments.coerce import seconds
from penult.calls.job import Job
from penult.calls.merging.heads import USUAL
from penult.connection.rpc import Connection
from penult.errors import invalid, shown
from penult.results.merging.merge import Merge
from penult.results.records import Checkpoint, FeatureSet, Run
from penult.results.refits import Refit
from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2

KEYS = ("extract", "refit")


class Then(NamedTuple):
    """Splits to extract (None for all), and the arguments of a refit (None for none)."""

    splits: list[str] | None
    refit: Mapping[str, Any] | None


class NewHead(NamedTuple):
    """A head that is fitted on features of the merged network, in place of the one that it has."""

    on: str
    """The split."""
    refit: Mapping[str, Any]
    """Arguments of `refit`."""
    name: str | None
    tags: Sequence[str] | None
    note: str | None
    """What the checkpoint with that head is called, and said of it."""


class Following(NamedTuple):
    """What comes after a merge."""

    then: Then | None
    head: NewHead | None
    dataset: str
    """The one that examples are from, where the merged checkpoint belongs to none."""


class Verbs(NamedTuple):
    """What carries it out: `Client.extract`, `Client.refit`, `Client.finetune` and `Checkpoints.describe`."""

    extract: Callable[..., Job[dict[str, FeatureSet]]]
    refit: Callable[..., Refit]
    finetune: Callable[..., Job[Run]]
    describe: Callable[..., Checkpoint]


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
        following: Following,
        verbs: Verbs,
    ) -> None:
        super().__init__(connection, message, result)
        self._following, self._verbs = following, verbs

    def wait(self, *, progress: bool | None = None, timeout: float | None = None) -> Merge:
        """As `Job.wait`; the merge, its new head, its extraction and its refit together."""
        deadline = None if timeout is None else time.monotonic() + seconds(timeout)

        def left() -> float | None:
            return None if deadline is None else max(0.001, deadline - time.monotonic())

        merge = super().wait(progress=progress, timeout=left())
        then, head = self._following.then, self._following.head
        if head is not None:
            merge = self._with_head(merge, head, progress, left)
        if then is None:
            return merge
        sets = self._extracted(merge.checkpoint, then.splits, progress, left())
        if then.refit is None:
            return replace(merge, features=sets)
        return replace(merge, features=sets, refit=self._refitted(sets, then.refit, left()))

    def _with_head(self, merge: Merge, head: NewHead, progress: bool | None, left: Callable[[], float | None]) -> Merge:
        """The merged body with a head that is fitted on its features: a refit, and a start from it that is not
        trained."""
        merged = merge.checkpoint
        sets = self._extracted(merged, [head.on], progress, left())
        refit = self._verbs.refit(sets[head.on], **_within(head.refit, left()))
        dataset = merged.dataset or self._following.dataset
        job = self._verbs.finetune(dataset=dataset, start=refit, epochs=0, tags=head.tags, note=head.note)
        (made,) = job.wait(progress=progress, timeout=left()).checkpoints
        if any(one is not None for one in (head.name, head.tags, head.note)):
            made = self._verbs.describe(made, name=head.name, tags=head.tags, note=head.note)
        return replace(merge, checkpoint=made, merged=merged, head_refit=refit)

    def _extracted(
        self, checkpoint: Checkpoint, splits: list[str] | None, progress: bool | None, left: float | None
    ) -> dict[str, FeatureSet]:
        where = {} if checkpoint.dataset else {"dataset": self._following.dataset or None}
        return self._verbs.extract(checkpoint, splits=splits, **where).wait(progress=progress, timeout=left)

    def _refitted(self, sets: Mapping[str, FeatureSet], refit: Mapping[str, Any], left: float | None) -> Refit:
        """Fitted on one split, evaluated on the others unless the caller says on what."""
        asked = dict(refit)
        on = asked.pop("on", USUAL if USUAL in sets else next(iter(sets)))
        if on not in sets:
            raise invalid(
                f"then['refit']['on'] must be one of the extracted splits, {', '.join(sets)}; got {shown(on)}",
                argument="then",
            )
        asked.setdefault("evaluate", {name: one for name, one in sets.items() if name != on})
        return self._verbs.refit(sets[on], **_within(asked, left))


def _within(asked: Mapping[str, Any], left: float | None) -> dict[str, Any]:
    """The arguments, with the seconds that are left unless they say others."""
    return dict(asked) if left is None else {"timeout": left} | dict(asked)
