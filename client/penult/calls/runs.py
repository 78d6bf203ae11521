"""Finetuning runs of a server: ``client.runs``."""

import builtins

from penult.arguments.coerce import build
from penult.calls import storage
from penult.connection.rpc import Connection
from penult.results.records import Run, RunManifest
from penult.results.space.deletion import Deletion
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

    def delete(
        self,
        run: Run | str,
        *,
        dependents: bool = False,
        dry_run: bool = False,
        timeout: float = storage.DELETE_SECONDS,
    ) -> Deletion:
        """Delete a run: its record, its manifest, and its checkpoints, except those that another run has stored, too.

        What depends on it is refused, and with ``dependents=True`` deleted: feature sets extracted from its
        checkpoints, and runs that started from one of them or repeat its errors. Stored answers (refits, spectra) stay,
        and so does the record of its job, which then says so. The same finetuning asked for again is run again.

        Parameters
        ----------
        dependents : delete what depends on it, too.
        dry_run : only say what would go, what stays, and what is in the way.
        timeout : seconds.

        Raises
        ------
        NotFound : there is no such run, or its job has not succeeded (see ``client.jobs.delete``).
        PreconditionFailed : kind ``in_use``: something depends on it, or a job that waits or runs needs or makes it;
            the message lists what, with bytes. Nothing was deleted.
        """
        return storage.delete(
            self._connection,
            "run",
            run_id(run),
            dependents=dependents,
            dry_run=dry_run,
            timeout=timeout,
        )
