"""Which fleet a job has: that of the server's `--engine`."""

from collections.abc import Generator
from contextlib import contextmanager

from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.jobs.channel import Reports
from penult_server.jobs.fleets.fleet import Fleet
from penult_server.jobs.fleets.local import LocalFleet


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
    return LocalFleet(order.device)
