"""A gang on a Ray cluster: a placement group, which waits for space for all, and an actor for each process."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false, reportAttributeAccessIssue=false
# Ray is annotated in part.

import json
import threading
from typing import Any

import ray
from google.protobuf import json_format
from ray.exceptions import RayActorError
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import FromWorker, JobOrder
from penult_server.errors import ServiceError
from penult_server.jobs.channel import Reports
from penult_server.jobs.fleets import on_nodes
from penult_server.jobs.fleets.answers import outcome_of
from penult_server.jobs.fleets.fleet import Json, WorkerDiedError

POLL_SECONDS = 0.5
"""How often a cancellation is looked for while nothing happens."""
SETTLE_SECONDS = 3.0
"""How long an unexpected error of one process is held back: when another has died, that is why."""


class Gang:
    """Used by one thread, in a block that leaves nothing; `end` by any."""

    def __init__(self, table: str, size: int, share: tuple[int, int], cancelled: threading.Event) -> None:
        """`share`: cores and GPUs of each process."""
        self._table = table
        self._size = size
        self._cores, gpus = share
        self._cancelled = cancelled
        self._options = {"num_cpus": self._cores, "num_gpus": gpus, "max_restarts": 0, "max_concurrency": 4}
        # All of them on one node, where one has space for them.
        self._group = placement_group([{"CPU": self._cores, "GPU": gpus}] * size, strategy="PACK")
        self._members: list[Any] = []

    def __enter__(self) -> "Gang":
        return self

    def __exit__(self, *_: object) -> None:
        self.end(True)
        remove_placement_group(self._group)

    def end(self, now: bool) -> None:
        """Tell the first to end, with whom the others do; `now` end all of them."""
        for one in list(self._members) if now else self._members[:1]:
            if now:
                ray.kill(one)
            else:
                one.cancel.remote()

    def run(self, order: JobOrder, reports: Reports) -> pb.JobResult:
        """What `Fleet.gang` says."""
        self._wait_for_space(reports)
        member: Any = ray.remote(on_nodes.Member)
        for bundle in range(self._size):
            place = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=bundle)
            made = member.options(scheduling_strategy=place, **self._options)
            self._members.append(made.remote(self._table, self._cores))
        reports.when_held(lambda number: self._members[0].held.remote(number))
        self._check_cancelled()  # what came before there was anybody to be told
        try:
            result = self._result(json_format.MessageToJson(order, indent=None), reports)
        except RayActorError as error:
            self._check_cancelled()
            raise WorkerDiedError(f"a process of this run died: {error}") from error
        return json_format.ParseDict(dict(result), pb.JobResult())

    def _wait_for_space(self, reports: Reports) -> None:
        """Others may have all of the cluster for hours."""
        ready = self._group.ready()
        reports.progress("waiting for the cluster", 0, self._size, "processes")
        while not ray.wait([ready], timeout=POLL_SECONDS)[0]:
            self._check_cancelled()

    def _result(self, order: str, reports: Reports) -> Json:
        """All of them at work, until each has ended or one has failed. Raises ServiceError, RayActorError."""
        first = self._members[0]
        meeting = ray.get(first.meeting.remote(self._address())) if self._size > 1 else ""
        running = {one.run.remote(order, rank, self._size, meeting): rank for rank, one in enumerate(self._members)}
        said = first.said.remote()
        result: Json = {}
        while running:
            ready, _ = ray.wait([said, *running])
            for ref in ready:
                if ref == said:
                    _pass_on(ray.get(said), reports)
                    said = first.said.remote()
                    continue
                rank, outcome = running.pop(ref), outcome_of(json.loads(ray.get(ref)))
                if outcome.error:
                    _pass_on(ray.get(said), reports)
                    raise self._settled(outcome.error, list(running))
                result = outcome.result if rank == 0 else result
        _pass_on(ray.get(said), reports)
        _pass_on(ray.get(first.said.remote()), reports)
        return result

    def _settled(self, error: ServiceError, others: list[Any]) -> ServiceError:
        """The error that ended a gang. Raises RayActorError when it came from the death of another process."""
        if error.kind is ErrorKind.INTERNAL and others:
            for one in ray.wait(others, num_returns=len(others), timeout=SETTLE_SECONDS)[0]:
                ray.get(one)
        return error

    def _address(self) -> str:
        """Address of the node that the first process is on."""
        first = placement_group_table(self._group)["bundles_to_node_id"][0]
        return next(str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == first)

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise ServiceError(ErrorKind.CANCELLED, "the job was cancelled")


def _pass_on(lines: list[str], reports: Reports) -> None:
    for line in lines:
        reports.pass_on(json_format.Parse(line, FromWorker()))
