"""Jobs that have ended: each is counted and told of once."""

import logging
from collections import OrderedDict

from penult_proto.enums import name_or
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.front.observed.metrics import JOB_SECONDS

MOST_REMEMBERED = 1000
log = logging.getLogger("penult.jobs")


class EndedJobs:
    """Counts how long jobs took, by kind and outcome, since the server started."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()

    def note(self, job: pb.Job) -> None:
        """Count a job that has ended, unless it was already."""
        if job.id in self._seen:
            return
        self._seen[job.id] = None
        if len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
        seconds = (job.finished.ToNanoseconds() - job.created.ToNanoseconds()) / 1e9
        outcome = name_or(pb.JobState, job.state, "failed")
        JOB_SECONDS.labels(job.spec.WhichOneof("kind"), outcome).observe(seconds)
        level = logging.WARNING if outcome == "failed" else logging.INFO
        values = {"job": job.id, "outcome": outcome, "kind": job.error.kind, "seconds": round(seconds, 3)}
        log.log(level, "job %s %s after %.1f s", job.id, outcome, seconds, extra=values)
