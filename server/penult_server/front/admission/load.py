"""What calls cost the server, learnt from those before, and how long one more would take beside those in progress.

The share of a call is the time for which it was in progress, every moment divided by the number of calls that then
were: so what it costs the others, whether the worker computes calls one after another, in slices or together. Its time
alone is what its caller waits when nobody else computes.
"""

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeAlias

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

WAITS = 3.0
"""How many times the mean time alone of those in progress a call may wait: with its own time, what it takes is then
about three times what the slowest of a hundred take alone."""
LIKE = 5.0
"""How many times as long as a call another one may be to hold it up: a longer one lets it go ahead."""
ALWAYS = 2
"""What may be in progress whatever is expected of it: a call, or a batch of them, that computes, and one that waits."""
SHORT = 0.05
"""Seconds; a shorter call is let in as if it took as long, for a refusal costs as much as its answer."""
UNKNOWN = 1.0
"""Seconds that are expected of a call while nothing like it has been seen."""
ALONE = 0.9
"""The part of its time that a call had to itself, from which on it was alone."""
TOGETHER = 0.125
"""The share of a call that is solved together with its like, beside its time alone: the more of them, the better."""
WEIGHT = 0.1
"""The weight of a new call in a mean."""
MOST_KINDS = 1_000
MOST_PATIENCE = 2.0
LEAST_DELAY, MOST_DELAY = 0.25, 30.0
"""Seconds after which a caller is told to ask again."""
Kind: TypeAlias = tuple[Hashable, ...]
"""What calls of about the same cost have in common, most general first; its beginnings are kinds, too."""
Batch: TypeAlias = tuple[str, Kind]
"""A user, and the method and feature set of calls that are solved together."""


@dataclass(slots=True)
class Mean:
    """A mean over what came lately."""

    value: float = 0.0
    n: int = 0

    def add(self, value: float) -> None:
        """Take one more into account."""
        self.n += 1
        self.value += (value - self.value) * max(1 / self.n, WEIGHT)


@dataclass(slots=True)
class Cost:
    """What is known of the calls of one kind, in seconds."""

    alone: Mean = field(default_factory=Mean)
    company: Mean = field(default_factory=Mean)
    """Shares of those that had company."""

    @property
    def seconds(self) -> float:
        """The time of a call alone, as far as is known."""
        return self.alone.value if self.alone.n else self.company.value

    @property
    def own(self) -> float:
        """What its caller waits where nobody else computes."""
        return max(SHORT, self.seconds)


@dataclass(frozen=True, slots=True)
class Computation:
    """A call in progress, or several that are solved together."""

    user: str
    share: float
    """What it is expected to cost the others, in seconds."""
    own: float
    """What its callers wait where nobody else computes."""
    batch: Batch | None = None


class Load:
    """The calls that compute, and what is expected of them; used in one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.running: dict[Computing, None] = {}
        self._costs: OrderedDict[Kind, Cost] = OrderedDict()
        self._shared = 0.0
        self._since = clock()

    def expected(self, kind: Kind) -> Cost:
        """The costs of the most special beginning of the kind of which something is known."""
        for end in range(len(kind), 0, -1):
            if (cost := self._costs.get(kind[:end])) is not None:
                return cost
        return Cost(alone=Mean(UNKNOWN, 1))

    def shared(self) -> float:
        """The time that has passed, divided at every moment among the calls that then were in progress."""
        now = self.clock()
        self._shared += (now - self._since) / max(len(self.running), 1)
        self._since = now
        return self._shared

    def computations(self) -> list["Computation"]:
        """What is in progress: calls that are solved together are one."""
        found: list[Computation] = []
        batches = defaultdict[Batch, list[Computing]](list)
        for one in self.running:
            if one.batch is None:
                found.append(Computation(one.user, one.share, one.own))
            else:
                batches[one.batch].append(one)
        for batch, members in batches.items():
            seconds = sum(one.share for one in members)
            found.append(Computation(batch[0], seconds, max(seconds, *(one.own for one in members)), batch))
        return found

    def wait(self, call: "Computing") -> float:
        """Seconds that one more call would wait: for what its user has in progress that it cannot join, and in turns
        with other users."""
        seconds = defaultdict[str, float](float)
        for one in self.computations():
            if one.batch is None or one.batch != call.batch:
                seconds[one.user] += min(one.share, LIKE * call.cost.own)  # a longer one lets it go ahead
        own = seconds.pop(call.user, 0.0)
        return own + sum(min(other, own + call.share) for other in seconds.values())

    def longest_wait(self, cost: Cost) -> float:
        """Seconds that one more call may wait; the same for long and short ones, lest those find no place."""
        found = self.computations()
        return WAITS * sum(min(one.own, LIKE * cost.own) for one in found) / max(len(found), 1)

    def learn(self, kind: Kind, seconds: float, share: float) -> None:
        """Take a call that was answered into account."""
        for end in range(1, len(kind) + 1):
            cost = self._costs.setdefault(kind[:end], Cost())
            self._costs.move_to_end(kind[:end])
            if share >= ALONE * seconds:
                cost.alone.add(seconds)
            else:
                cost.company.add(share)
        while len(self._costs) > MOST_KINDS:
            self._costs.popitem(last=False)


class Computing:
    """One call that computes, or waits until it may."""

    def __init__(self, load: Load, user: str, kind: Kind, *, is_together: bool = False) -> None:
        """`is_together`: it is solved together with others like it of its user, about the same set."""
        self.user = user
        self.batch: Batch | None = (user, kind[:2]) if is_together else None
        """What it is solved in; None for a call that is computed by itself."""
        self.cost = load.expected(kind)
        self.is_answered = False
        """Whether it ended well; what was given up says nothing of the cost of its kind."""
        self._load = load
        self._kind = kind
        self._asked = load.clock()
        self._begun = self._shared = 0.0

    @property
    def share(self) -> float:
        """What it is expected to cost the others, in seconds."""
        if self.batch is not None:
            return TOGETHER * self.cost.seconds
        # One that had to wait for long ones was in progress for longer than it has the device.
        return min(self.cost.company.value, self.cost.seconds) if self.cost.company.n else self.cost.seconds

    @property
    def own(self) -> float:
        """What its caller would have waited with nobody else, in progress: at least what it has had by now, lest
        a few that take far longer than was expected keep out those that they let go ahead."""
        return max(self.cost.own, self._load.shared() - self._shared)

    @property
    def patience(self) -> float:
        """Seconds for which it waits for a place before it is refused."""
        return min(self._load.longest_wait(self.cost) / 2, MOST_PATIENCE)

    def fits(self) -> bool:
        """Whether it would be ready in good time if it began now."""
        load = self._load
        if len(load.computations()) < ALWAYS:
            return True
        waited = load.clock() - self._asked
        return waited + load.wait(self) <= load.longest_wait(self.cost)

    def begin(self) -> None:
        """From now on it computes."""
        self._begun, self._shared = self._load.clock(), self._load.shared()
        self._load.running[self] = None

    def end(self) -> None:
        """It has ended."""
        share = self._load.shared() - self._shared
        del self._load.running[self]
        if self.is_answered:
            self._load.learn(self._kind, self._load.clock() - self._begun, share)

    def refusal(self) -> ServiceError:
        """What its caller is told when it does not fit."""
        n_running, seconds = len(self._load.running), self._load.wait(self)
        error = ServiceError(
            ErrorKind.BUSY,
            f"{n_running} computing calls are in progress, and this one would wait for about {seconds:.1f} s; "
            "ask again soon",
            used=n_running,
            what="computing calls",
            seconds=f"{seconds:.3f}",
        )
        error.retry_after = min(max(seconds, LEAST_DELAY), MOST_DELAY)
        return error
