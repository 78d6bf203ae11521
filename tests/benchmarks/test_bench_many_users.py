"""On paper: 1,000 users, 10^8 rows, 10^4 checkpoints. What saturates first, by a simulation of events.

The services' own routing (`front/workers/routing.py`) sends questions to simulated workers, whose times were measured:
each in `MEASURED` names the table of server/NOTES.md that it is from. What nobody has measured stands in `ASSUMED`.
Run by itself (`python tests/benchmarks/test_bench_many_users.py`) it prints the table of the notes.
"""

import heapq
import random
from bisect import bisect
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, count
from statistics import quantiles

from penult_server.front.workers.routing import Standing, choose

DISK, BUCKET = "worker, bytes read and verified a second", "worker, bytes from a bucket a second"
MEASURED = {
    "front, a stored answer": 0.0022,  # "Admission": a stored refit, of which all but the client's part
    "front, a computed answer": 0.0063,  # "Many clients at once": 6.1 to 6.5 ms
    "registry, a durable commit": 0.0057,  # the same: 5 ms to flush, and what an answer alone takes more than others
    "registry, each answer of a commit": 0.0007,  # the same
    "worker, spectra of four groups, D 2,048": 0.100,  # "On a GPU": all eigenvalues
    "worker, refits of a balanced subset": 0.125,  # "On a GPU": 140 L2 refits of 532 x 1,280
    DISK: 307e6 / 0.349,  # "On a GPU": 60,000 x 1,280
    BUCKET: 240e6,  # obstore's get with sha256: 208 to 268 MB/s
    "worker, one more refit with others": 1.2 / 45 * (10_000 * 2_048) / (60_000 * 1_280),  # "On a GPU": 45 penalties
}
"""Seconds, or bytes a second."""
N_USERS, N_CHECKPOINTS, N_ROWS, WIDTH = 1_000, 10_000, 10**8, 2_048
BYTES = N_ROWS // N_CHECKPOINTS * WIDTH * 4
"""What the sets of a checkpoint take in memory: 82 MB of 819 GB in all."""
ASSUMED = {"stored": 0.5, "spectra of computed": 0.3, "memory of a worker": 100e9, "most calls": 256, "retry": 1.0}
"""Half of the questions were asked before; Zipf's law says of which checkpoint; 100 GB of an H200 are for features."""


@dataclass(slots=True)
class Station:
    """Serves one after another."""

    free: float = 0.0
    busy: float = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When what arrives now is done."""
        self.free = max(now, self.free) + seconds
        self.busy += seconds
        return self.free


@dataclass(slots=True)
class Registry:
    """Writes what waits by one commit, and what arrives meanwhile by the next (`Registry.keep`)."""

    waiting: list[float] = field(default_factory=list)
    is_busy: bool = False
    busy: float = 0.0

    def next_commit(self) -> tuple[float, list[float]]:
        """The seconds that the next one takes, and since when each of its answers has been asked for."""
        together, self.waiting = self.waiting, []
        seconds = MEASURED["registry, a durable commit"] + len(together) * MEASURED["registry, each answer of a commit"]
        self.busy += seconds
        return seconds, together


@dataclass(slots=True)
class Worker:
    """A compute worker: questions that wait, and the checkpoints in its memory, the least used first."""

    bytes_a_second: float
    waiting: deque[tuple[int, bool, Callable[[float], None]]] = field(default_factory=deque)
    resident: OrderedDict[int, None] = field(default_factory=OrderedDict)
    n_asked: dict[int, int] = field(default_factory=dict)
    n_in_progress: int = 0
    is_busy: bool = False
    busy: float = 0.0
    n_reads: int = 0

    def standing(self, checkpoint: int) -> Standing:
        held = checkpoint in self.resident or self.n_asked.get(checkpoint, 0) > 0
        return Standing(n_waiting=max(0, self.n_in_progress - 1), n_held=held)

    def keep(self, checkpoint: int) -> bool:
        """Have a checkpoint's sets in memory; whether they had to be read."""
        was_there = checkpoint in self.resident
        self.resident[checkpoint] = None
        self.resident.move_to_end(checkpoint)
        if len(self.resident) * BYTES > ASSUMED["memory of a worker"]:
            self.resident.popitem(last=False)
        return not was_there

    def next_batch(self) -> tuple[float, list[Callable[[float], None]]]:
        """The seconds that the first question takes, with the refits of its checkpoint that wait, and who is told."""
        checkpoint, is_spectra, told = self.waiting.popleft()
        together = [told]
        seconds = MEASURED["worker, spectra of four groups, D 2,048"]
        if not is_spectra:  # spectra are of stored moments
            together += [one[2] for one in self.waiting if one[:2] == (checkpoint, False)]
            self.waiting = deque(one for one in self.waiting if one[:2] != (checkpoint, False))
            seconds = MEASURED["worker, refits of a balanced subset"]
            seconds += (len(together) - 1) * MEASURED["worker, one more refit with others"]
            if self.keep(checkpoint):
                self.n_reads += 1
                seconds += BYTES / self.bytes_a_second
        self.n_asked[checkpoint] -= len(together)
        self.n_in_progress -= len(together) - 1
        return seconds, together


class Simulation:
    """Users who think, ask and wait, for some time."""

    def __init__(self, n_workers: int, think: float, source: str) -> None:
        self.random = random.Random(0)
        self.front, self.registry = Station(), Registry()
        self.workers = [Worker(MEASURED[source]) for _ in range(n_workers)]
        self.computed: list[float] = []  # how long each answer took that was
        self.n_answers = self.n_refused = self.n_calls = 0
        self._think = think
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._shares = list(accumulate(1 / (rank + 1) for rank in range(N_CHECKPOINTS)))
        for checkpoint in reversed(range(N_CHECKPOINTS)):  # a server that has run for a while
            self.workers[choose([str(checkpoint)], [Standing()] * n_workers)].keep(checkpoint)

    def run(self, seconds: float) -> None:
        for _ in range(N_USERS):
            self._at(self.random.uniform(0, self._think), lambda now: self._ask(now, now))
        while self._events and self._events[0][0] < seconds:
            now, _, happen = heapq.heappop(self._events)
            happen(now)

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), happen))

    def _ask(self, now: float, since: float) -> None:
        if self.n_calls >= ASSUMED["most calls"]:
            self.n_refused += 1
            self._at(now + ASSUMED["retry"] * self.random.uniform(0.5, 1), lambda now: self._ask(now, since))
            return
        self.n_calls += 1
        if self.random.random() < ASSUMED["stored"]:
            self._at(self.front.serve(now, MEASURED["front, a stored answer"]), self._end)
        else:
            self._at(self.front.serve(now, MEASURED["front, a computed answer"]), lambda now: self._send(now, since))

    def _send(self, now: float, since: float) -> None:
        checkpoint = bisect(self._shares, self.random.random() * self._shares[-1])
        number = choose([str(checkpoint)], [one.standing(checkpoint) for one in self.workers])
        worker = self.workers[number]
        worker.n_in_progress += 1
        worker.n_asked[checkpoint] = worker.n_asked.get(checkpoint, 0) + 1
        is_spectra = self.random.random() < ASSUMED["spectra of computed"]
        worker.waiting.append((checkpoint, is_spectra, lambda now: self._commit(now, since)))
        if not worker.is_busy:
            self._compute(now, worker)

    def _compute(self, now: float, worker: Worker) -> None:
        worker.is_busy = bool(worker.waiting)
        if worker.is_busy:
            seconds, together = worker.next_batch()
            worker.busy += seconds
            self._at(now + seconds, lambda now: self._computed(now, worker, together))

    def _computed(self, now: float, worker: Worker, together: list[Callable[[float], None]]) -> None:
        worker.n_in_progress -= 1
        for told in together:
            told(now)
        self._compute(now, worker)

    def _commit(self, now: float, since: float) -> None:
        self.registry.waiting.append(since)
        if not self.registry.is_busy:
            self._write(now)

    def _write(self, now: float) -> None:
        self.registry.is_busy = bool(self.registry.waiting)
        if self.registry.is_busy:
            seconds, together = self.registry.next_commit()
            self._at(now + seconds, lambda now: self._written(now, together))

    def _written(self, now: float, together: list[float]) -> None:
        for since in together:
            self.computed.append(now - since)
            self._end(now)
        self._write(now)

    def _end(self, now: float) -> None:
        self.n_calls -= 1
        self.n_answers += 1
        self._at(now + self.random.expovariate(1 / self._think), lambda now: self._ask(now, now))


def row(n_workers: int, think: float, source: str, seconds: float) -> tuple[Simulation, str]:
    """A simulation that has run, and its row of the table."""
    one = Simulation(n_workers, think, source)
    one.run(seconds)
    cuts = quantiles(one.computed, n=100)
    busy = [min(worker.busy / seconds, 1) for worker in one.workers]
    said = (
        f"| {n_workers} | {'bucket' if 'bucket' in source else 'disk'} | {think:g} s | "
        f"{one.n_answers / seconds:.0f} | {cuts[49]:.2f}, {cuts[98]:.1f} s | "
        f"{min(one.front.busy / seconds, 1):.0%} | {min(one.registry.busy / seconds, 1):.0%} | "
        f"{max(busy):.0%}, {sum(busy) / n_workers:.0%} | "
        f"{sum(worker.n_reads for worker in one.workers) / seconds:.1f} | {one.n_refused / seconds:.0f} |"
    )
    return one, said


def test_what_saturates_first(at_full_size: bool) -> None:
    seconds = 300.0 if at_full_size else 30.0
    one, eight = (row(n, 30.0, DISK, seconds)[0] for n in (1, 8))
    # With people who think, the workers; with eight of them nothing.
    assert one.workers[0].busy > 0.95 * seconds > 5 * one.front.busy
    assert max(worker.busy for worker in eight.workers) < 0.8 * seconds
    assert sum(worker.n_reads for worker in eight.workers) < sum(worker.n_reads for worker in one.workers)
    # With scripts, which do not, the front or the registry, of which there is one each.
    scripts = row(8, 2.0, DISK, seconds)[0]
    assert max(scripts.front.busy, scripts.registry.busy) > 0.5 * seconds
    assert row(8, 30.0, DISK, 10.0)[1] == row(8, 30.0, DISK, 10.0)[1], "it says the same each time"


if __name__ == "__main__":
    for at_work in ((1, 30), (2, 30), (4, 30), (8, 30), (8, 10), (8, 5), (16, 5), (16, 2)):
        for place in (DISK, BUCKET)[: 1 + (at_work[1] == 30)]:
            print(row(*at_work, place, 300.0)[1], flush=True)
