"""Finetuning runs of a server: ``client.runs``."""

import builtins

from penult.arguments.coerce import build
from penult.connection.rpc import Connection
from penult.results.records import Run, RunManifest
from penult.wire import decode
from penult.wire.references import run_id
from penult_proto.v1 import runs_pb2


class Runs:
    """Finished runs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self, *, timeout: float = 30.0) -> builtins.list[Run]:
        """All runs."""
        request = runs_pb2.ListRunsRequest()
        answer = self._connection.unary(self._connection.stubs.runs.ListRuns, request, timeout=timeout)
        return [decode.run(message) for message in answer.runs]

    def get(self, id: Run | str, *, timeout: float = 30.0) -> Run:
        """The run of that id. Raises `NotFound`."""
        request = build(runs_pb2.GetRunRequest, id=run_id(id, "id"))
        return decode.run(self._connection.unary(self._connection.stubs.runs.GetRun, request, timeout=timeout))

    def manifest(self, run: Run | str, *, timeout: float = 30.0) -> RunManifest:
        """What is needed to run a run again, given as a record or its id; also of one that has not ended.

        Raises `NotFound`.
        """
        request = build(runs_pb2.GetRunRequest, id=run_id(run))
        call = self._connection.stubs.runs.GetRunManifest
        return decode.run_manifest(self._connection.unary(call, request, timeout=timeout))
