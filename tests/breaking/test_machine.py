"""The registry and the folders of a store, beside a simple model: whatever is done in whatever order, they agree.

Datasets, feature sets, jobs and what they make, names, deletions, restarts after a kill at three places of a deletion,
and a clock that jumps. Many more, other ones: ``PENULT_MACHINE_EXAMPLES=2000``.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from invariants import known
from raw_sql import rows_of

from penult_proto.v1 import datasets_pb2, features_pb2, groupings_pb2, jobs_pb2, runs_pb2
from penult_server.errors import ServiceError
from penult_server.registry import cards, catalog, deletion, jobs
from penult_server.registry.cards import Given
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.deletion import Deletions
from penult_server.registry.deletion_plan import Plan, Sort
from penult_server.registry.jobs import JobTable
from penult_server.stores.removal import FOLDERS, remove, remove_left

EXAMPLES = int(os.environ.get("PENULT_MACHINE_EXAMPLES", "400"))
# What is flushed is not what is tested here.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
NAMES = st.sampled_from(["north", "south", "east"])
OF_TABLE = {"feature_set": Sort.FEATURES} | {one.value: one for one in Sort if one is not Sort.FEATURES}
FOLDER_OF = {"feature_set": "features", "grouping": "groupings", "checkpoint": "checkpoints", "run": "runs"}


class Clock(ModuleType):
    """The module `time`, whose clock of the wall can be put forward and back."""

    def __init__(self) -> None:
        super().__init__("time")
        self.offset = 0.0

    def time(self) -> float:
        return time.time() + self.offset

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class KilledError(BaseException):
    """Where a process ends."""


class Store(RuleBasedStateMachine):
    """A registry on a root, and what is known of it."""

    made = Bundle("made")
    clock = Clock()

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="penult-machine-", dir=MEMORY))
        self.things: set[str] = set()
        """Kinds and ids that are there."""
        self.states: dict[str, str] = {}
        """Of jobs, by their ids, in the order in which they came."""
        self.names: dict[tuple[str, str], str] = {}
        self.requests: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        """Of datasets, by their names."""
        self.number = 0
        self.clock.offset = 0.0
        for module in (cards, catalog, jobs):
            if hasattr(module, "time"):
                module.time = self.clock  # pyright: ignore[reportAttributeAccessIssue]
        self.open()

    def open(self) -> None:
        """As a server starts."""
        self.database = Database(self.root / "penult.db")
        self.catalog = Catalog(self.database, self.root)
        self.jobs = JobTable(self.database)
        self.deletions = Deletions(self.database, self.root, self.catalog, self.jobs)
        self.deletions.recover()
        for folder in ("", *FOLDERS):
            remove_left(self.root / folder)
        for job in self.jobs.list([jobs_pb2.JOB_STATE_RUNNING, jobs_pb2.JOB_STATE_CANCELLING], 1000):
            self.states[job.id] = "QUEUED" if job.state == jobs_pb2.JOB_STATE_RUNNING else "CANCELLED"
            self.jobs.requeue(job.id)

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.root)
        for module in (cards, catalog, jobs):
            if hasattr(module, "time"):
                module.time = time  # pyright: ignore[reportAttributeAccessIssue]

    def fresh(self) -> str:
        self.number += 1
        return f"{self.number:06d}" * 10 + "aaaa"

    def place(self, folder: str, name: str) -> None:
        directory = self.root / folder / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "manifest.json").write_text(name)

    def any_of(self, kind: str, chance: int) -> str | None:
        """One of the things of a kind that are there."""
        found = sorted(one for one in self.things if one.startswith(f"{kind} "))
        return found[chance % len(found)].partition(" ")[2] if found else None

    def jobs_in(self, *states: str) -> list[str]:
        return [id for id, state in self.states.items() if state in states]

    @rule(target=made, name=NAMES)
    def register_dataset(self, name: str) -> str:
        digest = self.fresh()
        self.place("datasets", digest)
        try:
            self.catalog.add_dataset(datasets_pb2.Dataset(name=name, digest=digest))
        except ServiceError as error:
            is_taken = name in self.digests
            shutil.rmtree(self.root / "datasets" / digest)
            if error.kind != "name_taken" or not is_taken:
                raise
            return f"dataset {name}"
        assert name not in self.digests
        self.digests[name] = digest
        self.things.add(f"dataset {name}")
        return f"dataset {name}"

    @rule(target=made, name=st.none() | NAMES)
    def upload(self, name: str | None) -> str:
        digest = self.fresh()
        self.add_features(digest, "", Given(name=name or ""))
        return f"feature_set {digest}"

    def add_features(self, digest: str, checkpoint: str, given: Given) -> None:
        self.place("features", digest)
        feature_set = features_pb2.FeatureSet(digest=digest, checkpoint=checkpoint, dataset="north", split="val")
        self.catalog.add_feature_set(feature_set, given)
        self.things.add(f"feature_set {digest}")
        if given.name:
            self.names["feature_set", given.name] = digest

    @rule(target=made, chance=st.integers(0, 99), name=st.none() | NAMES)
    def group(self, chance: int, name: str | None) -> str:
        """A grouping of a feature set, or of one that is gone."""
        digest = self.fresh()
        self.place("groupings", digest)
        grouping = groupings_pb2.Grouping(digest=digest, feature_set=self.any_of("feature_set", chance) or "none")
        self.catalog.add_grouping(grouping, Given(name=name or ""))
        self.things.add(f"grouping {digest}")
        if name:
            self.names["grouping", name] = digest
        return f"grouping {digest}"

    @rule(target=made, chance=st.integers(0, 99), starts=st.booleans(), request=st.none() | NAMES)
    def submit(self, chance: int, starts: bool, request: str | None) -> str:
        """A finetuning, of a dataset, from a checkpoint if there is one."""
        spec = jobs_pb2.JobSpec(finetune=runs_pb2.FinetuneSpec(dataset=self.any_of("dataset", chance) or "none"))
        if starts and (checkpoint := self.any_of("checkpoint", chance)):
            spec.finetune.start.checkpoint = checkpoint
        if request in self.requests:
            made = self.requests[request]
            if f"job {made}" in self.things:
                spec_digest = rows_of(self.database, "SELECT spec_digest FROM job WHERE id = ?", made)[0][0]
                assert self.jobs.create(spec, spec_digest, request, 1000).id == made
                return f"job {made}"
        job = self.jobs.create(spec, self.fresh(), request or "", 1000)
        self.requests |= {request: job.id} if request else {}
        self.states[job.id] = "QUEUED"
        self.things.add(f"job {job.id}")
        return f"job {job.id}"

    @rule()
    def start_next(self) -> None:
        job = self.jobs.start_next()
        waiting = self.jobs_in("QUEUED")
        assert (job.id if job else None) == (waiting[0] if waiting else None)
        if job:
            self.states[job.id] = "RUNNING"
            self.place("runs", job.id)

    @rule(target=made, chance=st.integers(0, 99))
    def store_checkpoint(self, chance: int) -> str:
        """Of a job that runs."""
        running = self.jobs_in("RUNNING", "CANCELLING")
        if not running:
            return "job 0000"
        job, digest = running[chance % len(running)], self.fresh()
        self.place("checkpoints", digest)
        self.catalog.add_checkpoint(runs_pb2.Checkpoint(digest=digest, run_id=job, model=digest))
        self.jobs.report(job, jobs_pb2.JobEvent(checkpoint=digest))
        self.jobs.report(job, jobs_pb2.JobEvent(progress=jobs_pb2.Progress(stage="x", done=1, total=2)))
        self.things.add(f"checkpoint {digest}")
        return f"checkpoint {digest}"

    @rule(chance=st.integers(0, 99), how=st.sampled_from(["succeed", "fail", "cancel", "die", "ask"]))
    def end(self, chance: int, how: str) -> None:
        jobs_there = self.jobs_in("RUNNING", "CANCELLING") + (self.jobs_in("QUEUED") if how == "ask" else [])
        if not jobs_there:
            return
        job = jobs_there[chance % len(jobs_there)]
        was = self.states[job]
        match how:
            case "succeed":
                held = self.deletions.holdings.stored_by(job)
                run = runs_pb2.Run(id=job, dataset_digest="none", spec=self.jobs.get(job).spec.finetune)
                run.checkpoints.extend(runs_pb2.Checkpoint(digest=one, run_id=job) for one in sorted(held))
                self.catalog.add_run(run)
                self.jobs.succeed(job, jobs_pb2.JobResult(run=run))
                self.things.add(f"run {job}")
                self.states[job] = "SUCCEEDED"
            case "fail":
                self.jobs.fail(job, jobs_pb2.Error(kind="worker_died"))
                self.states[job] = "FAILED" if was == "RUNNING" else "CANCELLED"
            case "cancel":
                self.jobs.cancel(job)
                self.states[job] = "CANCELLED"
            case "die":
                self.jobs.count_death(job)
                self.jobs.requeue(job)
                self.states[job] = "QUEUED" if was == "RUNNING" else "CANCELLED"
            case _:
                self.jobs.ask_to_cancel(job)
                self.states[job] = {"QUEUED": "CANCELLED", "RUNNING": "CANCELLING"}.get(was, was)

    @rule(chance=st.integers(0, 99))
    def extract(self, chance: int) -> None:
        if checkpoint := self.any_of("checkpoint", chance):
            self.add_features(self.fresh(), checkpoint, Given())

    @rule(thing=made, name=NAMES)
    def give_name(self, thing: str, name: str) -> None:
        kind, _, id = thing.partition(" ")
        if thing not in self.things or kind in ("dataset", "job"):
            return
        self.catalog.cards.replace(kind, id, name=name, tags=None, note=None)
        self.names = {key: one for key, one in self.names.items() if key[0] != kind or one != id}
        self.names[kind, name] = id
        assert self.catalog.cards.get(kind, id).name == name

    @rule(seconds=st.sampled_from([-1e9, -3600.0, 0.0, 3600.0, 1e9]))
    def put_clock(self, seconds: float) -> None:
        self.clock.offset = seconds

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.open()

    @rule(thing=made, dependents=st.booleans(), killed=st.sampled_from(["", "", "before", "after", "removing"]))
    def delete(self, thing: str, dependents: bool, killed: str) -> None:
        """In use, it is refused; killed before the commit, nothing has happened; after it, all has."""
        kind, _, id = thing.partition(" ")
        if thing not in self.things:
            with pytest.raises(ServiceError, match=r"no |unknown|does not exist|are there"):
                self.deletions.planner.plan(OF_TABLE[kind], id, dependents=dependents)
            return
        plan = self.deletions.planner.plan(OF_TABLE[kind], id, dependents=dependents)
        going = {f"{one.sort.table} {one.id}" for one in plan.goes if not one.name_only}
        assert plan.in_the_way or thing in going
        if plan.in_the_way:
            return
        self.check_needs(going)
        if self.carry_out(plan, killed):
            self.things -= going
            for one in going:
                gone, _, name = one.partition(" ")
                self.states.pop(name, None) if gone == "job" else None
                self.digests.pop(name, None) if gone == "dataset" else None
                self.names = {key: of for key, of in self.names.items() if (key[0], of) != (gone, name)}

    def check_needs(self, going: set[str]) -> None:
        """No job that has not ended needs, or has stored, what goes."""
        for job in self.deletions.holdings.jobs_in_progress():
            assert f"job {job.id}" not in going
            assert not {f"checkpoint {one}" for one in job.named | job.stored} & going

    def carry_out(self, plan: Plan, killed: str) -> bool:
        """Whether it counts, as the registry says when it is opened again."""
        with pytest.MonkeyPatch.context() as patch:

            def die(*_: object) -> None:
                raise KilledError

            if killed == "before":
                patch.setattr(self.deletions, "_commit", die)
                patch.setattr(deletion, "put_back", lambda _: None)
            elif killed == "after":
                patch.setattr(deletion, "condemn", die)
            try:
                left = self.deletions.execute(plan)
            except KilledError:
                left = []
        if killed:
            self.restart()
        else:
            remove(left)
        return killed != "before"

    @invariant()
    def the_registry_has_what_was_made(self) -> None:
        assert known(self.database) == self.things
        assert set(rows_of(self.database, "SELECT kind, id FROM card")) == {
            tuple(one.split(" ")) for one in self.things
        }

    @invariant()
    def the_folders_have_what_the_registry_has(self) -> None:
        for kind, folder in FOLDER_OF.items():
            there = {path.name for path in (self.root / folder).glob("*")}
            wanted = {one.partition(" ")[2] for one in self.things if one.startswith(f"{kind} ")}
            if kind == "run":
                # The folder of an attempt goes with its job.
                assert wanted <= there <= wanted | set(self.states)
            else:
                assert there == wanted, kind
        assert {path.name for path in (self.root / "datasets").glob("*")} == set(self.digests.values())

    @invariant()
    def jobs_are_where_they_were_left(self) -> None:
        for id, state in self.states.items():
            job = self.jobs.get(id)
            assert jobs_pb2.JobState.Name(job.state) == f"JOB_STATE_{state}"
            events = self.jobs.events(id, 0)
            assert events[-1].seq == job.last_seq
            assert [one.seq for one in events] == sorted({one.seq for one in events})
            states = [one.state for one in events if one.HasField("state")]
            assert states[-1] == job.state

    @invariant()
    def names_are_those_that_were_given_last(self) -> None:
        rows = rows_of(self.database, "SELECT kind, name, id FROM name")
        assert {(kind, name): id for kind, name, id in rows} == self.names

    @invariant()
    def nothing_rests_on_what_is_gone(self) -> None:
        checkpoints = {one.partition(" ")[2] for one in self.things if one.startswith("checkpoint ")}
        for run in self.deletions.holdings.runs().values():
            assert run.checkpoints <= checkpoints
            assert {one for one in run.named if one.endswith("aaaa")} <= checkpoints
        for one in self.deletions.holdings.feature_sets():
            assert not one.checkpoint or one.checkpoint in checkpoints


def _case(examples: int, steps: int) -> type:
    case = Store.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    return case


TestStore = _case(12, 40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_store_and_its_model_agree_for_long(capsys: pytest.CaptureFixture[str]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    steps = 60
    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{EXAMPLES} histories of up to {steps} steps ")
