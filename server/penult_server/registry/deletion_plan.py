"""What goes and what stays when a thing is deleted, and what stands in the way.

A run takes its checkpoints with it, except those that another run has stored, too. Of checkpoints depend the feature
sets extracted from them and the runs that started from them; of a dataset its runs, their checkpoints and its feature
sets.
Stored answers depend on nothing: they stay true. So do groupings, which hold the ids of their rows; on a grouping
depend the runs whose recipe names it.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from penult_server.registry.holdings import Holdings, JobFacts, SetFacts


class Sort(StrEnum):
    """Sorts of things, as the wire names them in small letters."""

    RUN = "run"
    CHECKPOINT = "checkpoint"
    DATASET = "dataset"
    FEATURES = "features"
    JOB = "job"
    RESULT = "result"
    GROUPING = "grouping"

    @property
    def table(self) -> str:
        """The table of the registry that has them, which is also their kind there."""
        return "feature_set" if self is Sort.FEATURES else self.value


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing and what becomes of it."""

    sort: Sort
    id: str
    """Digest, id, or the name of a dataset."""
    reason: str
    names: tuple[str, ...] = ()
    n_bytes: int = 0
    """Bytes of a result; those of other things are those of their files."""
    name_only: bool = False
    """Whether one of several names goes, and the content stays."""


@dataclass(slots=True)
class Plan:
    """What a deletion does."""

    goes: list[Thing] = field(default_factory=list[Thing])
    """The thing itself, its parts, what depends on it."""
    stays: list[Thing] = field(default_factory=list[Thing])
    in_the_way: list[Thing] = field(default_factory=list[Thing])
    """Why it is refused."""
    losing: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Runs that stay, and the checkpoints that their records lose."""
    heirs: dict[str, str] = field(default_factory=dict[str, str])
    """Checkpoints that stay while the run that stored them first goes, and the run that they then belong to."""

    def ids(self, sort: Sort) -> list[str]:
        """What goes of a sort, content and all."""
        return [thing.id for thing in self.goes if thing.sort is sort and not thing.name_only]


Target = tuple[Sort, str]


class Closure:
    """Everything that goes with some things, by what each goes for."""

    def __init__(self, holdings: Holdings) -> None:
        self.runs = holdings.runs()
        self.sets = holdings.feature_sets()
        self.jobs = holdings.jobs_in_progress()
        self._first = holdings.checkpoints_by_run()
        self.registered = {digest for digests in self._first.values() for digest in digests}
        self.why: dict[Target, str] = {}
        self.parts: set[Target] = set()
        """What goes as a part of the first thing, and not because it depends on it."""
        self.shared: dict[str, str] = {}
        """Checkpoints of runs that go, which stay, and why."""
        self.heirs: dict[str, str] = {}
        """Checkpoints that a run that goes stored first, and another run, or a job, that has stored them, too."""
        self._holders: dict[str, list[str]] = {}
        for run in self.runs:
            for digest in self.held(run):
                self._holders.setdefault(digest, []).append(run)

    def held(self, run: str) -> set[str]:
        """Registered checkpoints of a run: those in its record, and what it stored beside them."""
        listed = self.runs[run].checkpoints if run in self.runs else frozenset[str]()
        return {*listed, *self._first.get(run, ())} & self.registered

    def holders(self, checkpoint: str) -> list[str]:
        """Registered runs that have a checkpoint."""
        return self._holders.get(checkpoint, [])

    def add(self, sort: Sort, ids: Iterable[str], reason: str | Callable[[str], str]) -> bool:
        """Let things go; whether any of them is new."""
        new = [id for id in ids if (sort, id) not in self.why]
        for id in new:
            self.why[sort, id] = reason if isinstance(reason, str) else reason(id)
        return bool(new)

    def ids(self, sort: Sort) -> set[str]:
        """What goes of a sort."""
        return {id for one, id in self.why if one is sort}

    def complete(self) -> None:
        """Add what goes with, and what depends on, what is there; until nothing is left to add."""
        while self._add_once():
            pass

    def add_parts(self, run: str) -> None:
        """The checkpoints that a run, or an attempt at one, takes with it; why others stay is in `shared`."""
        going = self.ids(Sort.RUN) | {run}
        for digest in sorted(self.held(run)):
            if self._take(digest, run, going):
                self.parts.add((Sort.CHECKPOINT, digest))

    def _take(self, digest: str, run: str, going: Collection[str]) -> bool:
        others = [one for one in self.holders(digest) if one not in going]
        storing = [job.id for job in self.jobs if digest in job.stored]
        if digest in self._first.get("", ()):
            self.shared[digest] = "imported or merged: it belongs to no run"
        elif others:
            self.shared[digest] = f"run {', '.join(others)} has stored it, too"
            self._inherit(digest, run, others[0])
        elif storing:
            self.shared[digest] = f"job {', '.join(storing)}, which has not ended, has stored it, too"
            self._inherit(digest, run, storing[0])
        else:
            self.shared.pop(digest, None)
            return self.add(Sort.CHECKPOINT, [digest], f"a checkpoint of run {run}")
        return False

    def _inherit(self, digest: str, run: str, heir: str) -> None:
        if digest in self._first.get(run, ()):
            self.heirs[digest] = heir

    def _add_once(self) -> bool:
        runs, checkpoints = self.ids(Sort.RUN), self.ids(Sort.CHECKPOINT)
        found = False
        for run in sorted(runs):
            for digest in sorted(self.held(run) - checkpoints):
                found |= self._take(digest, run, runs)
        for one in self.sets:
            if one.checkpoint in checkpoints:
                found |= self.add(Sort.FEATURES, [one.digest], f"extracted from checkpoint {one.checkpoint[:12]}")
        sources = checkpoints | self.ids(Sort.RESULT) | self.ids(Sort.GROUPING)
        for run, facts in self.runs.items():
            for digest in sorted(facts.named & sources):
                found |= self.add(Sort.RUN, [run], f"its recipe names {digest[:12]}")
        return found


def users(closure: Closure, holdings: Holdings) -> list[Thing]:
    """Jobs that wait or run and need, or make, anything that goes."""
    found: list[Thing] = []
    for job in closure.jobs:
        reason = _use(job, closure, holdings)
        if reason:
            found.append(Thing(Sort.JOB, job.id, f"{job.state}: {reason}; cancel it, or wait until it has ended"))
    return found


def _use(job: JobFacts, closure: Closure, holdings: Holdings) -> str:
    checkpoints = closure.ids(Sort.CHECKPOINT)
    if job.id in closure.ids(Sort.RUN) | closure.ids(Sort.JOB):
        return "it has not ended"
    going = checkpoints.union(*(closure.ids(sort) for sort in (Sort.RESULT, Sort.FEATURES, Sort.GROUPING)))
    for digest in sorted(job.named & going):
        return f"it needs {digest[:12]}"
    for digest in sorted(job.stored & checkpoints):
        return f"checkpoint {digest[:12]} is one of those that it has stored"
    dataset = job.spec.get("name" if job.kind == "registerDataset" else "dataset", "")
    if dataset in closure.ids(Sort.DATASET):
        return f"it is about dataset {dataset!r}"
    if job.kind == "extract":
        models = holdings.models()
        made = [one for one in closure.sets if one.digest in closure.ids(Sort.FEATURES) and _makes(job, one, models)]
        for one in made:
            return f"it gives the features {one.digest[:12]}"
    return ""


def _makes(job: JobFacts, features: SetFacts, models: dict[str, str]) -> bool:
    """Whether a feature set may be among those that an extraction gives; it may be of another kind or type."""
    spec = job.spec
    return (
        features.checkpoint in models
        and models.get(spec["checkpoint"]) == models[features.checkpoint]
        and features.dataset == spec["dataset"]
        and features.split in spec["splits"]
    )
