"""Plans of deletions: by the sort of the thing, what goes with it, what stays, what stands in the way."""

from sqlalchemy import func, select

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2
from penult_server.errors import unknown
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.deletion_plan import Closure, Plan, Sort, Thing, users
from penult_server.registry.holdings import Holdings
from penult_server.registry.jobs import ENDED, JobTable
from penult_server.registry.tables import TABLES, dataset, result


class Planner:
    """Reads the registry and changes nothing."""

    def __init__(self, database: Database, catalog: Catalog, jobs: JobTable, holdings: Holdings) -> None:
        self._database = database
        self._catalog = catalog
        self._jobs = jobs
        self._holdings = holdings

    def plan(self, sort: Sort, name: str, *, dependents: bool) -> Plan:
        """What deleting a thing would do.

        Raises ServiceError: of the kinds UNKNOWN_..., also where several things are called so.
        """
        match sort:
            case Sort.RUN:
                return self._run(self._catalog.run(name).id, dependents)
            case Sort.CHECKPOINT:
                return self._checkpoint(self._catalog.checkpoint(name).digest, dependents)
            case Sort.DATASET:
                return self._dataset(name, dependents)
            case Sort.FEATURES:
                return self._features(name)
            case Sort.JOB:
                return self._job(self._jobs.get(self._jobs.find(name)), dependents)
            case Sort.RESULT:
                return self._result(name, dependents)
            case Sort.GROUPING:
                return self._grouping(self._catalog.grouping(name).digest, dependents)

    def deleted_products(self, job: jobs_pb2.Job) -> list[str]:
        """What a job made and has since been deleted."""
        result = job.result
        match result.WhichOneof("kind"):
            case "run":
                return [] if self._database.has(TABLES["run"], id=result.run.id) else [result.run.id]
            case "extract":
                digests = [one.digest for one in result.extract.feature_sets]
                return [digest for digest in digests if not self._database.has(TABLES["feature_set"], digest=digest)]
            case "dataset":
                return [] if self._database.has(TABLES["dataset"], name=result.dataset.name) else [result.dataset.name]
            case "checkpoint":
                digest = result.checkpoint.digest
                return [] if self._database.has(TABLES["checkpoint"], digest=digest) else [digest]
            case "merge_curve" | "merge_report" | None:
                return []

    def _run(self, run: str, dependents: bool) -> Plan:
        closure = Closure(self._holdings)
        closure.add(Sort.RUN, [run], "asked for")
        closure.add_parts(run)
        plan = self._plan(closure, dependents)
        if self._database.has(TABLES["job"], id=run):
            plan.stays.append(Thing(Sort.JOB, run, "its record and log; it says that the run was deleted"))
        return plan

    def _checkpoint(self, digest: str, dependents: bool) -> Plan:
        closure = Closure(self._holdings)
        closure.add(Sort.CHECKPOINT, [digest], "asked for")
        plan = self._plan(closure, dependents)
        for run in closure.holders(digest):
            if run not in plan.ids(Sort.RUN):
                plan.losing[run] = {digest}
                plan.stays.append(Thing(Sort.RUN, run, "its record and its metrics, without this checkpoint"))
        return plan

    def _dataset(self, name: str, dependents: bool) -> Plan:
        query = select(dataset.c.name, dataset.c.digest).order_by(dataset.c.name)
        registered = {row[0]: row[1] for row in self._database.rows(query)}
        if name not in registered:
            raise unknown(ErrorKind.UNKNOWN_DATASET, "registered dataset", name, list(registered))
        digest = registered[name]
        others = [other for other, content in registered.items() if content == digest and other != name]
        closure = Closure(self._holdings)
        if others:
            closure.why[Sort.DATASET, name] = "asked for"
            plan = Plan(goes=[Thing(Sort.DATASET, name, "asked for: this name", (name,), name_only=True)])
            plan.stays = [Thing(Sort.DATASET, other, "another name of the same content", (other,)) for other in others]
            plan.in_the_way = users(closure, self._holdings)
            return plan
        closure.add(Sort.DATASET, [name], "asked for")
        closure.add(
            Sort.RUN, (run for run, facts in closure.runs.items() if facts.dataset_digest == digest), "trained on it"
        )
        closure.add(Sort.CHECKPOINT, self._holdings.checkpoints_of_dataset(digest), "trained on it")
        sets = (one.digest for one in closure.sets if one.dataset_digest == digest)
        closure.add(Sort.FEATURES, sets, "extracted from it")
        return self._plan(closure, dependents)

    def _features(self, name: str) -> Plan:
        feature_set = self._catalog.feature_set(name)
        names = tuple(feature_set.names)
        if name in names and len(names) > 1:
            others = tuple(other for other in names if other != name)
            return Plan(
                goes=[Thing(Sort.FEATURES, feature_set.digest, "asked for: this name", (name,), name_only=True)],
                stays=[Thing(Sort.FEATURES, feature_set.digest, "it has other names", others)],
            )
        closure = Closure(self._holdings)
        closure.add(Sort.FEATURES, [feature_set.digest], "asked for")
        return self._plan(closure, dependents=False)

    def _job(self, job: jobs_pb2.Job, dependents: bool) -> Plan:
        closure = Closure(self._holdings)
        closure.add(Sort.JOB, [job.id], "asked for")
        if job.spec.HasField("finetune") and job.state in ENDED and job.state != jobs_pb2.JOB_STATE_SUCCEEDED:
            closure.add_parts(job.id)
        plan = self._plan(closure, dependents)
        plan.stays += self._products(job)
        return plan

    def _products(self, job: jobs_pb2.Job) -> list[Thing]:
        """What a job made, which stays when its record goes."""
        deleted = self.deleted_products(job)
        result = job.result
        reason = "what the job made; asked for again, it would be made again, under another id"
        if result.HasField("run"):
            made = [Thing(Sort.RUN, result.run.id, reason)]
        elif result.HasField("dataset"):
            made = [Thing(Sort.DATASET, result.dataset.name, "what the job registered")]
        else:
            sets = result.extract.feature_sets
            made = [Thing(Sort.FEATURES, one.digest, "what the job extracted") for one in sets]
        return [thing for thing in made if thing.id and thing.id not in deleted]

    def _result(self, name: str, dependents: bool) -> Plan:
        closure = Closure(self._holdings)
        closure.add(Sort.RESULT, [self._catalog.finder.find("summary", name)], "asked for")
        return self._plan(closure, dependents)

    def _grouping(self, digest: str, dependents: bool) -> Plan:
        closure = Closure(self._holdings)
        closure.add(Sort.GROUPING, [digest], "asked for")
        return self._plan(closure, dependents)

    def _plan(self, closure: Closure, dependents: bool) -> Plan:
        """What follows from what is to go: it is first, then its parts, then what depends on it."""
        closure.complete()
        asked = next(iter(closure.why))
        own = [asked, *(target for target in closure.why if target in closure.parts)]
        more = [target for target in closure.why if target not in own]
        things, dependent = ([self._thing(*target, closure.why[target]) for target in one] for one in (own, more))
        plan = Plan(goes=things + dependent if dependents else things, in_the_way=[] if dependents else dependent)
        plan.heirs = {digest: run for digest, run in closure.heirs.items() if digest in closure.shared}
        plan.in_the_way += users(closure, self._holdings)
        plan.stays = [
            self._thing(Sort.CHECKPOINT, digest, reason)
            for digest, reason in closure.shared.items()
            if (Sort.CHECKPOINT, digest) not in closure.why
        ]
        going = {id for sort, id in closure.why if sort in (Sort.FEATURES, Sort.CHECKPOINT, Sort.GROUPING)}
        plan.stays += [
            self._thing(Sort.GROUPING, digest, "a grouping of its rows, which it holds itself")
            for digest in self._holdings.groupings_of(closure.ids(Sort.FEATURES))
            if (Sort.GROUPING, digest) not in closure.why
        ]
        plan.stays += [
            Thing(Sort.RESULT, digest, f"a stored answer ({kind}): it stays true", n_bytes=size)
            for digest, kind, size in self._holdings.results_about(going)
        ]
        return plan

    def _thing(self, sort: Sort, id: str, reason: str) -> Thing:
        names = (id,) if sort is Sort.DATASET else self._holdings.names(sort.table, id)
        size = 0
        if sort is Sort.RESULT:
            query = select(func.length(result.c.message)).where(result.c.digest == id)
            size = int(self._database.rows(query)[0][0])
        return Thing(sort, id, reason, names, size)
