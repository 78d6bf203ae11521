"""Seconds of work done in turns, so that no side has the machine's quiet moments to itself."""

import time
from collections.abc import Callable


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work()
    return clock() - started


def seconds_in_turns(*works: Callable[[], object], rounds: int) -> tuple[list[float], ...]:
    """For each piece of work its seconds in each round."""
    taken = [[seconds(work) for work in works] for _ in range(rounds)]
    return tuple([of_round[place] for of_round in taken] for place in range(len(works)))


def processor_seconds_in_turns(*works: Callable[[], object], rounds: int) -> tuple[list[float], ...]:
    """The same in processor time of this process, all threads together: what others do on the machine counts less."""
    taken = [[seconds(work, time.process_time) for work in works] for _ in range(rounds)]
    return tuple([of_round[place] for of_round in taken] for place in range(len(works)))
