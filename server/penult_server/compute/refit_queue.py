"""Refits of many callers, solved together: those that arrive within a few milliseconds, or while others are solved.

One thread takes what has arrived, and does all of it in rounds (see `refit_work`). The columns of a caller that has
gone leave at the solver's next step, and the others go on; with the last of them the solve ends at its next pass.
What one request does wrong is its own failure.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from penult_kernels.selection import EmptyLabelError
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refit_material import RefitMaterial
from penult_server.compute.refit_procedure import refit
from penult_server.compute.refit_work import Interest, Rounds, Work, do_together
from penult_server.compute.resident import Resident
from penult_server.errors import ServiceError

QUIET = 0.02
"""Seconds without a new request after which a batch begins."""
LONGEST_WAIT = 0.1
"""Seconds that the first request waits at most, however many follow it."""
MOST_TOGETHER = 256


class NobodyLeftError(Exception):
    """All callers of a batch have gone."""


@dataclass(slots=True, eq=False)
class Asked:
    """One request on its way."""

    request: pb.RefitRequest
    is_waiting: Callable[[], bool]
    """Whether the caller is still there; may come from another thread."""
    answer: "Future[pb.Refit]" = field(default_factory=lambda: Future[pb.Refit]())
    rounds: Rounds[pb.Refit] | None = None
    waiting: list[Work] = field(default_factory=list[Work])
    has_left: bool = False

    def is_wanted(self) -> bool:
        """Whether its caller is still there; one that has been seen gone stays gone."""
        self.has_left = self.has_left or not self.is_waiting()
        return not self.has_left

    def fail(self, error: BaseException) -> None:
        """End it."""
        if self.rounds is not None:
            self.rounds.close()
        self.answer.set_exception(error)


class RefitQueue:
    """Answers refits on a thread of its own."""

    def __init__(self, material: RefitMaterial, device: AbstractContextManager[Any]) -> None:
        self._material = material
        self._device = device
        self._arrived: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="refits", daemon=True).start()

    def ask(self, request: pb.RefitRequest, is_waiting: Callable[[], bool]) -> "Future[pb.Refit]":
        """The answer to come; its exception is what went wrong with this request alone."""
        asked = Asked(request, is_waiting)
        self._arrived.put(asked)
        return asked.answer

    def _serve(self) -> None:
        while True:
            batch = self._collect()
            with self._device:
                answer_together(batch, self._material)

    def _collect(self) -> list[Asked]:
        """The next request, those that have come meanwhile, and those that follow closely."""
        batch = [self._arrived.get()]
        end = time.monotonic() + LONGEST_WAIT
        while len(batch) < MOST_TOGETHER:
            try:
                batch.append(self._arrived.get(timeout=min(QUIET, max(0.0, end - time.monotonic()))))
            except queue.Empty:
                break
        return batch


def answer_together(batch: list[Asked], material: RefitMaterial) -> None:
    """Answer every request of a batch, or fail it alone."""
    for asked in batch:
        asked.rounds = refit(asked.request, material)
        _resume(asked, None, material)
    while going := _still_going(batch):
        _do_round(going, material)


def _still_going(batch: list[Asked]) -> list[Asked]:
    """Those without an answer whose callers are there; the others are told, for the record, that they have gone."""
    for asked in batch:
        if not asked.answer.done() and not asked.is_wanted():
            asked.fail(ServiceError(ErrorKind.CANCELLED, "the caller has gone"))
    return [asked for asked in batch if not asked.answer.done()]


def _do_round(going: list[Asked], material: RefitMaterial) -> None:
    """One round of work of all; where the engine refuses, of each alone, so that only the culprit fails."""
    owners = [asked for asked in going for _ in asked.waiting]

    def check() -> None:
        if not any(asked.is_wanted() for asked in going):
            raise NobodyLeftError

    interest = Interest(check=check, is_wanted=lambda position: owners[position].is_wanted())
    try:
        results = do_together([work for asked in going for work in asked.waiting], material, interest)
    except NobodyLeftError:
        return
    except Exception as error:
        if len(going) == 1:
            going[0].fail(explained(error, going[0].request, material))
            return
        for asked in going:
            _do_round([asked], material)
        return
    first = 0
    for asked in going:
        own = results[first : first + len(asked.waiting)]
        first += len(asked.waiting)
        # What was left unsolved because the caller has gone is never an answer.
        if not asked.has_left:
            _resume(asked, own, material)


def _resume(asked: Asked, results: list[list[Any]] | None, material: RefitMaterial) -> None:
    """Let a refit go on to its next round, or to its answer."""
    if asked.rounds is None:
        return
    try:
        asked.waiting = next(asked.rounds) if results is None else asked.rounds.send(results)
    except StopIteration as stop:
        asked.answer.set_result(stop.value)
    except Exception as error:
        asked.fail(explained(error, asked.request, material))


def explained(error: Exception, request: pb.RefitRequest, material: RefitMaterial) -> Exception:
    """What the kernels refuse, as the request that cannot be met."""
    if isinstance(error, EmptyLabelError):
        return _empty(error, request, material.resident(request.feature_set))
    if isinstance(error, ValueError):
        return ServiceError(ErrorKind.INVALID_ARGUMENT, str(error))
    return error


def _empty(error: EmptyLabelError, request: pb.RefitRequest, resident: Resident) -> ServiceError:
    manifest = resident.manifest
    labels = manifest.labels
    is_group = error.n_labels != len(labels.classes)
    if is_group and request.groups == pb.GROUP_SOURCE_STORED:
        y, a = divmod(error.label, labels.n_attributes)
        name = f"group {error.label} ({labels.classes[y]}, {labels.attribute_values[a]})"
    elif is_group:
        y, environment = divmod(error.label, 2)
        name = f"environment {environment} of class {labels.classes[y]}"
    else:
        name = f"class {error.label} ({labels.classes[error.label]})"
    return ServiceError(
        ErrorKind.EMPTY_GROUP,
        f"{name} has no example among the rows of feature set {manifest.digest[:12]} that are fitted, so it cannot be "
        "balanced or fitted; use a set, or a half, that has all of them",
        label=error.label,
        by="group" if is_group else "class",
    )
