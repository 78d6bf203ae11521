"""What a job worker is told to do."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf.json_format import ParseDict

from penult_proto.v1 import jobs_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is to do. Declarative: names and digests, never code."""

    job_id: str
    root: str
    spec: dict[str, Any]
    """A JobSpec as JSON."""
    dataset_digest: str
    device: str
    log: str
    """File for what the work prints."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    def job_spec(self) -> jobs_pb2.JobSpec:
        """The spec as a message."""
        return ParseDict(self.spec, jobs_pb2.JobSpec())
