"""A batch of refits, answered in rounds (see `refit_work`) that all of its members take in step.

The columns of a caller that has gone leave at the solver's next step, and the others go on; with the last of them
the solve ends at its next pass. Who joins a batch that has just begun makes its round begin again.
What one request does wrong is its own failure.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refit_material import RefitMaterial
from penult_server.compute.refit_procedure import refit
from penult_server.compute.refit_refusals import explained
from penult_server.compute.refit_work import Interest, Rounds, Work, do_together
from penult_server.errors import ServiceError


class NobodyLeftError(Exception):
    """All callers of a round have gone."""


class JoinedError(Exception):
    """Others have joined: the round begins again, with them."""


@dataclass(slots=True, eq=False)
class Asked:
    """One request on its way."""

    request: pb.RefitRequest
    is_waiting: Callable[[], bool]
    """Whether the caller is still there; asked from another thread than the caller's."""
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


def answer_together(
    batch: list[Asked], material: RefitMaterial, joining: Callable[[], list[Asked]] = list[Asked]
) -> None:
    """Answer every request of a batch, or fail it alone; `joining` gives those that have come to join it."""
    _Together(batch, material, joining).answer()


class _Together:
    def __init__(self, batch: list[Asked], material: RefitMaterial, joining: Callable[[], list[Asked]]) -> None:
        self._material = material
        self._joining = joining
        self._members = batch
        self._joined: list[Asked] = []

    def answer(self) -> None:
        """Round by round, until nobody waits."""
        beginning = self._members
        while True:
            for asked in beginning:
                asked.rounds = refit(asked.request, self._material)
                self._resume(asked, None)
            going = self._still_going()
            if not going:
                return
            self._do_round(going)
            beginning, self._joined = self._joined, []
            self._members = going + beginning

    def _still_going(self) -> list[Asked]:
        """Those without an answer whose callers are there; the others have gone."""
        for asked in self._members:
            if not asked.answer.done() and not asked.is_wanted():
                asked.fail(ServiceError(ErrorKind.CANCELLED, "the caller has gone"))
        return [asked for asked in self._members if not asked.answer.done()]

    def _do_round(self, going: list[Asked]) -> None:
        """One round of work of all; where the engine refuses, of each alone, so that only the culprit fails."""
        owners = [asked for asked in going for _ in asked.waiting]

        def check() -> None:
            if not any(asked.is_wanted() for asked in going):
                raise NobodyLeftError
            self._joined += self._joining()
            if self._joined:
                raise JoinedError

        interest = Interest(check=check, is_wanted=lambda position: owners[position].is_wanted())
        try:
            results = do_together([work for asked in going for work in asked.waiting], self._material, interest)
        except (NobodyLeftError, JoinedError):
            return
        except Exception as error:
            if len(going) == 1:
                going[0].fail(self._explained(error, going[0]))
                return
            for asked in going:
                self._do_round([asked])
            return
        self._hand_out(going, results)

    def _hand_out(self, going: list[Asked], results: list[list[Any]]) -> None:
        first = 0
        for asked in going:
            own = results[first : first + len(asked.waiting)]
            first += len(asked.waiting)
            # What was left unsolved because the caller has gone is never an answer.
            if not asked.has_left:
                self._resume(asked, own)

    def _explained(self, error: Exception, asked: Asked) -> Exception:
        if not isinstance(error, ValueError):
            return error
        return explained(error, asked.request, self._material.resident(asked.request.feature_set))

    def _resume(self, asked: Asked, results: list[list[Any]] | None) -> None:
        """Let a refit go on to its next round, or to its answer."""
        if asked.rounds is None:
            return
        try:
            asked.waiting = next(asked.rounds) if results is None else asked.rounds.send(results)
        except StopIteration as stop:
            asked.answer.set_result(stop.value)
        except Exception as error:
            asked.fail(self._explained(error, asked))
