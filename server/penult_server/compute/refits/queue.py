"""Refits of many callers, solved together: those that arrive at about the same time, or while others are solved.

A lane's thread takes all requests that have arrived as a batch, and answers them in rounds (see `refits.work`) that
all of them take together. If a caller goes, its columns leave at the solver's next step and the others continue;
without any caller the solve ends at its next pass. When requests join a batch, the round in progress starts again with
them. An error in one request fails that request alone.
"""

import queue
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.memory import give_back_much
from penult_server.compute.refits.checks import explained
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.procedure import refit
from penult_server.compute.refits.work import Interest, Rounds, Work, do_together
from penult_server.compute.reporting import NO_REPORTS, SILENT, Reporter, ReportPipe
from penult_server.compute.turns import Turns
from penult_server.errors import ServiceError

QUIET = 0.05
"""Seconds after the last request within which another one still joins a batch in progress, where batches are short."""
LONGEST = 0.1
"""Seconds after the start of a batch within which others may join it, likewise."""
WORTHWHILE = 0.25
"""The part of the time of a lone refit that is given up for those who join it: together they need hardly more than it,
and whoever does not join waits for its end and then for his own."""
MOST_SECONDS = 1.0
"""Seconds that are given up at most."""
MOST_SETS = 1_000
"""Feature sets of which it is known how long a lone refit takes."""
MOST_TOGETHER = 256
LANES = (5e8, 5e10)
"""Work at which a refit goes to another lane, in multiplications of one pass over the rows of all its problems."""


class NobodyLeftError(Exception):
    """All callers of a round have gone."""


class GoneError(Exception):
    """The caller of one request has gone while its problems were made."""


class JoinedError(Exception):
    """Other requests have joined: the round starts again with them."""


@dataclass(slots=True, eq=False)
class Asked:
    """One request and its progress."""

    request: pb.RefitRequest
    is_waiting: Callable[[], bool]
    """Whether the caller is still there; asked from another thread than the caller's."""
    query: str = ""
    """What the front knows it by; empty when nobody is told how far it is."""
    answer: "Future[pb.Refit]" = field(default_factory=lambda: Future[pb.Refit]())
    rounds: Rounds[pb.Refit] | None = None
    waiting: list[Work] = field(default_factory=list[Work])
    has_left: bool = False
    waited: float = 0.0
    """Seconds until it was taken into a batch."""

    def is_wanted(self) -> bool:
        """Whether its caller is still there; one that has been seen gone stays gone."""
        self.has_left = self.has_left or not self.is_waiting()
        return not self.has_left

    def fail(self, error: BaseException) -> None:
        """End it."""
        if self.rounds is not None:
            self.rounds.close()
        self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class Lane:
    """Requests that are solved together: one that joins a round of its feature set has it start again for a saving, and
    one of another set would for nothing."""

    user: str
    feature_set: str
    size: int
    """The decade of the work, by `LANES`."""


@dataclass(slots=True, eq=False)
class Arrivals:
    """Requests that have arrived: any thread puts them, one thread takes them in batches."""

    clock: Callable[[], float] = time.monotonic
    _queue: "queue.SimpleQueue[tuple[float, Asked]]" = field(default_factory=lambda: queue.SimpleQueue())
    _come: deque[tuple[float, Asked]] = field(default_factory=deque[tuple[float, Asked]])
    _started: float = 0.0
    _last: float = 0.0
    _size: int = 0
    _slack: float = 1.0
    """How many times as long as a short one the latest batch is open."""

    @property
    def size(self) -> int:
        """Requests in the latest batch."""
        return self._size

    def put(self, asked: Asked) -> None:
        """Add a request."""
        self._queue.put((self.clock(), asked))

    def wait(self) -> None:
        """Wait until there is a request."""
        if not self._come:
            self._come.append(self._queue.get())

    @property
    def is_empty(self) -> bool:
        """Whether no request waits to be taken."""
        return not self._come and self._queue.empty()

    def begin(self, expected: Callable[[pb.RefitRequest], float] = lambda _: 0.0) -> list[Asked]:
        """Start a batch with all requests that have arrived; `expected` says for how long the first would take alone,
        in seconds."""
        if self._come:
            given_up = min(WORTHWHILE * expected(self._come[0][1].request), MOST_SECONDS)
            self._slack = max(1.0, given_up / LONGEST)
        self._started = self._last = self.clock()
        self._size = 0
        return self._taken(until=self._started)

    def joining(self) -> list[Asked]:
        """Requests that have arrived since, soon enough to join the latest batch."""
        joined: list[Asked] = []
        while more := self._taken(until=min(self._last + self._slack * QUIET, self._closes), most=1):
            joined += more
        return joined

    @property
    def _closes(self) -> float:
        return self._started + self._slack * LONGEST

    def _taken(self, *, until: float, most: int = MOST_TOGETHER) -> list[Asked]:
        while not self._queue.empty():
            self._come.append(self._queue.get())
        taken: list[Asked] = []
        while self._come and self._come[0][0] <= until and len(taken) < most and self._size < MOST_TOGETHER:
            arrived, asked = self._come.popleft()
            self._last, self._size = max(self._last, arrived), self._size + 1
            asked.waited = max(0.0, self.clock() - arrived)
            taken.append(asked)
        return taken


class RefitQueue:
    """Answers refits, those of one user and set and of about the same work together; each lane on a thread of its own.

    So a small refit does not wait for the end of a large one, nor one user for another: lanes take turns.
    """

    def __init__(self, material: RefitMaterial, device: Turns, reports: ReportPipe = NO_REPORTS) -> None:
        self._material = material
        self._reports = reports
        self._device = device
        self._lock = threading.Lock()
        self._lanes: dict[Lane, Arrivals] = {}
        self._seconds: OrderedDict[str, float] = OrderedDict()
        """How long the latest refit of a feature set took that was alone."""
        self.batches: Counter[int] = Counter()
        """Batches by the number of requests that were answered together."""

    def ask(
        self, request: pb.RefitRequest, is_waiting: Callable[[], bool], query: str = "", user: str = ""
    ) -> "Future[pb.Refit]":
        """The future answer; its exception is the error of this request alone."""
        return self.asked(request, is_waiting, query, user).answer

    def asked(self, request: pb.RefitRequest, is_waiting: Callable[[], bool], query: str = "", user: str = "") -> Asked:
        """The request, whose answer is still to come."""
        asked = Asked(request, is_waiting, query)
        lane = Lane(user, request.feature_set, self._decades(request))
        with self._lock:
            is_new = lane not in self._lanes
            self._lanes.setdefault(lane, Arrivals()).put(asked)
        if is_new:
            threading.Thread(target=self._serve, args=(lane,), name="refits", daemon=True).start()
        return asked

    def _serve(self, lane: Lane) -> None:
        """Answer what comes in a lane until nothing is left."""
        arrivals = self._lanes[lane]
        while True:
            arrivals.wait()
            with self._device.held(lane.user):
                batch, started = arrivals.begin(self._expected), time.monotonic()
                answer_together(batch, self._material, arrivals.joining, self._reports, self._device.pause)
                if arrivals.size == 1:
                    self._learn(batch[0].request, time.monotonic() - started)
            give_back_much()
            with self._lock:
                self.batches[arrivals.size] += 1
                if arrivals.is_empty:
                    del self._lanes[lane]
                    return

    def _expected(self, request: pb.RefitRequest) -> float:
        with self._lock:
            return self._seconds.get(request.feature_set, 0.0)

    def _learn(self, request: pb.RefitRequest, seconds: float) -> None:
        """Note how long a lone refit took."""
        with self._lock:
            self._seconds[request.feature_set] = seconds
            self._seconds.move_to_end(request.feature_set)
            if len(self._seconds) > MOST_SETS:
                self._seconds.popitem(last=False)

    def _decades(self, request: pb.RefitRequest) -> int:
        """How much work a request is, roughly: 0 below a second or so, 1 below minutes, 2 above."""
        try:
            manifest = self._material.manifest(request.feature_set)
        except ServiceError:
            return 0  # it will be refused
        n_problems = max(request.repeats, 1)
        for axis in request.grid:
            n_problems *= max(len(axis.values), 1)
        work = n_problems * manifest.n_examples * manifest.n_features * len(manifest.labels.classes)
        return int(np.searchsorted(LANES, work))


def answer_together(
    batch: list[Asked],
    material: RefitMaterial,
    joining: Callable[[], list[Asked]] = list[Asked],
    reports: ReportPipe = NO_REPORTS,
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Answer every request of a batch, or fail it alone; `joining` gives the requests that join it.

    `pause` is called between steps, and lets others have the device.
    """
    _Together(batch, material, joining, reports, pause).answer()


class _Together:
    def __init__(
        self,
        batch: list[Asked],
        material: RefitMaterial,
        joining: Callable[[], list[Asked]],
        reports: ReportPipe,
        pause: Callable[[], None],
    ) -> None:
        self._pause = pause
        self._looked = time.monotonic()
        self._material = material
        self._joining = joining
        self._reports = reports
        self._told: list[str] = []
        self._progress = SILENT
        self._members = batch
        self._joined: list[Asked] = []

    def answer(self) -> None:
        """Do rounds until no request waits."""
        beginning = self._members
        while True:
            for asked in beginning:
                material = self._material.reporting(self._reports.of([asked.query]), partial(self._go_on, asked))
                asked.rounds = refit(asked.request, material)
                self._resume(asked, None)
            going = self._still_going()
            if not going:
                return
            self._do_round(going)
            beginning, self._joined = self._joined, []
            self._members = going + beginning

    def _go_on(self, asked: Asked) -> None:
        """Between steps of one request's own work, which may be many and short."""
        self._pause()
        if time.monotonic() - self._looked >= LONGEST:
            self._looked = time.monotonic()
            if not asked.is_wanted():
                raise GoneError

    def _still_going(self) -> list[Asked]:
        """Requests without an answer whose callers are still there; fails those whose callers have gone."""
        for asked in self._members:
            if not asked.answer.done() and not asked.is_wanted():
                asked.fail(ServiceError(ErrorKind.CANCELLED, "the caller has gone"))
        return [asked for asked in self._members if not asked.answer.done()]

    def _do_round(self, going: list[Asked]) -> None:
        """One round of work for all requests; after an error, for each alone, so that only the one at fault fails."""
        owners = [asked for asked in going for _ in asked.waiting]

        def check() -> None:
            if not any(asked.is_wanted() for asked in going):
                raise NobodyLeftError
            self._pause()
            self._joined += self._joining()
            if self._joined:
                raise JoinedError

        progress = self._progress_of(going)
        interest = Interest(check=check, is_wanted=lambda position: owners[position].is_wanted(), progress=progress)
        works = [work for asked in going for work in asked.waiting]
        try:
            results = do_together(works, self._material.reporting(progress), interest)
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

    def _progress_of(self, going: list[Asked]) -> Reporter:
        """Reports to all of them; the same ones while they are the same, so that many short rounds are told of."""
        told = [asked.query for asked in going]
        if told != self._told:
            self._told, self._progress = told, self._reports.of(told)
        return self._progress

    def _hand_out(self, going: list[Asked], results: list[list[Any]]) -> None:
        first = 0
        for asked in going:
            own = results[first : first + len(asked.waiting)]
            first += len(asked.waiting)
            # Results for a caller that has gone may be unsolved, and are never an answer.
            if not asked.has_left:
                self._resume(asked, own)

    def _explained(self, error: Exception, asked: Asked) -> Exception:
        if not isinstance(error, ValueError):
            return error
        request = asked.request
        return explained(error, request, self._material.manifest(request.feature_set, request.grouping))

    def _resume(self, asked: Asked, results: list[list[Any]] | None) -> None:
        """Send a refit its results, up to its next round or its answer."""
        if asked.rounds is None:
            return
        try:
            asked.waiting = next(asked.rounds) if results is None else asked.rounds.send(results)
        except StopIteration as stop:
            asked.answer.set_result(stop.value)
        except GoneError:
            asked.fail(ServiceError(ErrorKind.CANCELLED, "the caller has gone"))
        except Exception as error:
            asked.fail(self._explained(error, asked))
