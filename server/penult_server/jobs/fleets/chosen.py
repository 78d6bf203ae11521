"""Which fleet a job has: that of the server's `--engine`."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.jobs.channel import Reports
from penult_server.jobs.fleets.fleet import Fleet
from penult_server.jobs.fleets.local import LocalFleet

ELSEWHERE = ("finetune", "extract")
"""Kinds of jobs whose work a cluster does where there is one; the others read what lies on the front's machine."""


@contextmanager
def fleet_for(order: JobOrder, reports: Reports) -> Generator[Fleet]:
    """The fleet of a job, told when that is cancelled; when the block ends, nothing of it is left running."""
    fleet = _fleet(order)
    try:
        reports.when_cancelled(fleet.cancel)
        yield fleet
    finally:
        fleet.close()


def _fleet(order: JobOrder) -> Fleet:
    """Raises ServiceError for a cluster that cannot be used, or that takes anyone."""
    if order.engine == "ray" and order.spec.WhichOneof("kind") in ELSEWHERE:
        # Imported here: who has one machine has no Ray.
        from penult_server.jobs.fleets.ray_fleet.fleet import RayFleet

        return RayFleet(Path(order.root), order.device)
    return LocalFleet(order.device)
