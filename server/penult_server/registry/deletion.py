"""Deletions, carried out in one step on the registry's thread: files set aside, rows deleted, all or nothing."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf.json_format import MessageToJson, Parse
from sqlalchemy import Table, delete, select, update

from penult_proto.errors import ErrorKind
from penult_proto.v1 import runs_pb2
from penult_server.errors import RegistryUnavailable
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.deletion_plan import Closure, Plan, Sort, Thing
from penult_server.registry.deletion_planner import Planner
from penult_server.registry.holdings import Holdings
from penult_server.registry.jobs import JobTable
from penult_server.registry.tables import TABLES, checkpoint, dataset, feature_set, grouping, job_event, result
from penult_server.registry.tables import job as job_table
from penult_server.registry.tables import run as run_table
from penult_server.stores.disk.reserve import Reserve
from penult_server.stores.removal import condemn, put_back, recover, set_aside

FORGOTTEN: dict[Sort, tuple[tuple[Table, str], ...]] = {
    Sort.RUN: ((run_table, "id"),),
    Sort.CHECKPOINT: ((checkpoint, "digest"),),
    Sort.DATASET: ((dataset, "name"),),
    Sort.FEATURES: ((feature_set, "digest"),),
    Sort.JOB: ((job_event, "job"), (job_table, "id")),
    Sort.RESULT: ((result, "digest"),),
    Sort.GROUPING: ((grouping, "digest"),),
}
"""The rows, by table and column, that the registry forgets of a thing."""


class Deletions:
    """Every method is to be called on the registry's thread, so that nothing comes between its steps."""

    def __init__(self, database: Database, root: Path, catalog: Catalog, jobs: JobTable) -> None:
        self._database = database
        self._root = root
        self.holdings = Holdings(database)
        self.planner = Planner(database, catalog, jobs, self.holdings)
        self.reserve = Reserve(root)

    def places(self, things: Iterable[Thing]) -> dict[Thing, list[Path]]:
        """The files and directories of things, those that there may be."""
        damaged: dict[str, list[Path]] = {}
        for path in (self._root / "features").glob(".damaged-*"):
            damaged.setdefault(path.name.split("-")[1], []).append(path)
        return {thing: self._places(thing, damaged) for thing in things}

    def execute(self, plan: Plan) -> list[Path]:
        """Carry out a plan that was made in the same step. Returns what is left to remove.

        Raises ServiceError (DISK_FULL) when not even the reserve is enough; then everything is as before.
        """
        going = [thing for thing in plan.goes if not thing.name_only]
        asides = set_aside(path for paths in self.places(going).values() for path in paths)
        try:
            self._commit(plan)
        except BaseException:
            put_back(asides)
            raise
        for run in [*plan.ids(Sort.RUN), *plan.losing]:
            self.holdings.forget_run(run)
        return condemn(asides)

    def drop_unneeded(self, job: str, needed: set[str]) -> list[Path]:
        """Delete the checkpoints that a running job has stored and no longer needs, where nothing else has them.

        Returns what is left to remove. A checkpoint stays that another run or job has stored or names, that features
        were extracted from, that was imported, or that has a name.
        """
        closure = Closure(self.holdings)
        own = closure.held(job) & self.holdings.stored_by(job)
        others = [one for one in closure.jobs if one.id != job]
        taken = {digest for one in others for digest in one.stored | one.named}
        taken |= {digest for facts in closure.runs.values() for digest in facts.named}
        taken |= {one.checkpoint for one in closure.sets}
        taken |= {id for kind, id in self.holdings.all_names() if kind == Sort.CHECKPOINT.table}
        free = [digest for digest in sorted(own - needed - taken) if not set(closure.holders(digest)) - {job}]
        if not free:
            return []
        return self.execute(
            Plan(goes=[Thing(Sort.CHECKPOINT, digest, f"job {job} is done with it") for digest in free])
        )

    def recover(self) -> None:
        """Finish, or undo, the deletions of a server that was killed."""
        recover(self._root, self.is_known)

    def is_known(self, folder: str, name: str) -> bool:
        """Whether something in a folder of the store, by its name there, is registered; for `removal.recover`."""
        digest = name.removeprefix(".damaged-").partition("-")[0].partition(".")[0]
        match folder:
            case "checkpoints" | "features" | "groupings":
                table = {"checkpoints": "checkpoint", "features": "feature_set", "groupings": "grouping"}[folder]
                return self._database.has(TABLES[table], digest=digest)
            case "datasets" | "tokens":
                return self._database.has(dataset, digest=digest)
            case "logs":
                return self._database.has(job_table, id=name.removeprefix("job-").removesuffix(".log"))
            case _:
                # Of an attempt that did not succeed the folder goes with its job.
                query = select(job_table.c.id).where(job_table.c.id == name)
                unmade = query.where(job_table.c.state != "JOB_STATE_SUCCEEDED")
                return self._database.has(run_table, id=name) or bool(self._database.rows(unmade))

    def _places(self, thing: Thing, damaged: Mapping[str, list[Path]]) -> list[Path]:
        root = self._root
        match thing.sort:
            case Sort.RUN:
                return [root / "runs" / thing.id]
            case Sort.CHECKPOINT:
                return [root / "checkpoints" / thing.id]
            case Sort.FEATURES:
                return [root / "features" / thing.id, *damaged.get(thing.id, ())]
            case Sort.DATASET:
                rows = self._database.rows(select(dataset.c.digest).where(dataset.c.name == thing.id))
                tokens = [path for row in rows for path in (root / "tokens").glob(f"{row[0]}.*")]
                return [*(root / "datasets" / row[0] for row in rows), *tokens]
            case Sort.JOB:
                log = root / "logs" / f"job-{thing.id}.log"
                # The folder of a run that is registered belongs to that.
                return [log] if self._database.has(run_table, id=thing.id) else [log, root / "runs" / thing.id]
            case Sort.GROUPING:
                return [root / "groupings" / thing.id]
            case Sort.RESULT:
                return []

    def _commit(self, plan: Plan) -> None:
        """Forget what goes. On a full disk the reserve is given back, and it is tried once more."""
        try:
            self._forget(plan)
        except RegistryUnavailable as error:
            if error.kind is not ErrorKind.DISK_FULL or not self.reserve.release():
                raise
            self._forget(plan)

    def _forget(self, plan: Plan) -> None:
        with self._database.transaction() as connection:
            for thing in plan.goes:
                if thing.name_only and thing.sort is Sort.FEATURES:
                    self.holdings.forget_name(connection, thing.names[0])
                    continue
                for table, column in FORGOTTEN[thing.sort]:
                    connection.execute(delete(table).where(table.c[column] == thing.id))
            for run, lost in plan.losing.items():
                message = self._run(run)
                kept = [one for one in message.checkpoints if one.digest not in lost]
                del message.checkpoints[:]
                message.checkpoints.extend(kept)
                record = MessageToJson(message)
                connection.execute(update(run_table).where(run_table.c.id == run).values(message=record))
            for digest, run in plan.heirs.items():
                heir = MessageToJson(self._inherited(digest, run))
                connection.execute(update(checkpoint).where(checkpoint.c.digest == digest).values(message=heir))

    def _run(self, run: str) -> runs_pb2.Run:
        """The record of a run; of a job that has not made one, an empty one."""
        rows = self._database.checked(run_table, id=run)
        return Parse(rows[0][0], runs_pb2.Run()) if rows else runs_pb2.Run()

    def _inherited(self, digest: str, run: str) -> runs_pb2.Checkpoint:
        """A checkpoint as a run has stored it, after the run that stored it first has gone."""
        own = [one for one in self._run(run).checkpoints if one.digest == digest]
        if own:
            return own[0]
        stored = Parse(self._database.checked(checkpoint, digest=digest)[0][0], runs_pb2.Checkpoint())
        stored.run_id = run
        return stored
