"""Finetuning runs of a server: ``client.runs``."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from penult.arguments.coerce import build, listed, optional_text, record
from penult.calls import storage
from penult.calls.catalog.paging import collect, describe
from penult.connection.rpc import Connection
from penult.results.lists.columns import run_row
from penult.results.lists.listing import Listing
from penult.results.lists.run_table import RunTable, run_table
from penult.results.records import Run, RunManifest
from penult.results.space.deletion import Deletion
from penult.wire import decode, encode
from penult.wire.encode import Since
from penult.wire.references import run_id
from penult_proto.v1 import catalog_pb2, runs_pb2


class Runs:
    """Finished runs. One is given as a record, an id, the start of one (at least 4 characters) or a name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        *,
        dataset: str | None = None,
        backbone: str | None = None,
        tag: str | Sequence[str] | None = None,
        name: str | None = None,
        since: Since | None = None,
        user: str | None = None,
        limit: int | None = None,
        timeout: float = 30.0,
    ) -> Listing[Run]:
        """Finished runs, newest first, as a list that prints as a table; all of them by default.

        Parameters
        ----------
        dataset, backbone : what was finetuned on what, as the run's recipe says it.
        tag : a tag that a run has; or several, all of which it has.
        name : a name; may have the wildcards * and ?, such as ``"waterbirds-*"``.
        since : a datetime, a date, or text such as ``"2026-11-30"``; or a timedelta, for how long ago.
        user : who asked for it, as the client said.
        limit : the newest so many; None for all.
        timeout : seconds for each page of the list.
        """
        of, on = optional_text("dataset", dataset), optional_text("backbone", backbone)
        found = collect(
            lambda options, length: self._connection.unary(
                self._connection.stubs.runs.ListRuns,
                build(runs_pb2.ListRunsRequest, dataset=of, backbone=on, options=options, limit=length),
                timeout=timeout,
            ),
            lambda page: page.runs,
            encode.list_options(tag=tag, name=name, since=since, user=user),
            limit,
        )
        return Listing(map(decode.run, found), run_row)

    def get(self, id: Run | str, *, timeout: float = 30.0) -> Run:
        """The run of an id, of the start of one, or of a name. Raises `NotFound`, listing those that exist."""
        request = build(runs_pb2.GetRunRequest, id=run_id(id, "id"))
        return decode.run(self._connection.unary(self._connection.stubs.runs.GetRun, request, timeout=timeout))

    def manifest(self, run: Run | str, *, timeout: float = 30.0) -> RunManifest:
        """What is needed to run a run again; also of one that has not ended.

        Raises `NotFound`.
        """
        request = build(runs_pb2.GetRunRequest, id=run_id(run))
        call = self._connection.stubs.runs.GetRunManifest
        return decode.run_manifest(self._connection.unary(call, request, timeout=timeout))

    def describe(
        self,
        run: Run | str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 30.0,
    ) -> Run:
        """Name a run, tag it, write a note; what is None stays as it is. Returns the run.

        Parameters
        ----------
        run : which one.
        name : small letters, digits, dot, underscore, hyphen, in place of the names it has; "" for none. A name that
            another run has moves here, and ``.notes`` of the answer says from which.
        tags : in place of the tags it has; ``[]`` for none.
        note : in place of the note it has; "" for none.
        timeout : seconds.

        Raises
        ------
        InvalidRequest : a name, a tag or a note that cannot be one.
        NotFound : kind ``unknown_run``.
        """
        kind = catalog_pb2.THING_KIND_RUN
        id, notes = describe(self._connection, kind, run_id(run), name=name, tags=tags, note=note, timeout=timeout)
        described = self.get(id, timeout=timeout)
        return replace(described, notes=(*described.notes, *notes))

    def table(
        self,
        runs: Iterable[Run | str] | None = None,
        *,
        by: str | Sequence[str] = (),
        over: str | Sequence[str] = "seed",
        split: str = "test",
        metric: str | Sequence[str] = ("worst_group_accuracy", "average_accuracy"),
        epoch: float = -1,
        across: str | Sequence[str] = (),
        dataset: str | None = None,
        backbone: str | None = None,
        tag: str | Sequence[str] | None = None,
        name: str | None = None,
        since: Since | None = None,
        user: str | None = None,
        timeout: float = 30.0,
    ) -> RunTable:
        """Mean, standard deviation (divisor n - 1) and number of runs, as papers report them.

            client.runs.table(by=["balance", "ratio"], over="seed", dataset="footwear")

        Only runs that are equal in everything but `over` are averaged: recipes that differ in anything else, and are
        not told apart by `by`, are refused with what differs.

        Parameters
        ----------
        runs : those to report, as records, ids or names; by default what the filters below find, as in `list`.
        by : fields of `Run.spec` whose values make a row each, such as ``["balance"]``; those within a group of options
            with a dot between, such as ``"optimizer.learning_rate"``.
        over : the field, or fields, that differ between the runs of a row.
        split : where the metrics were measured.
        metric : fields of `Metrics` that are numbers, such as ``"worst_group_accuracy"``.
        epoch : after which epoch; -1 for each run's last.
        across : fields that may differ within a row although they are neither in `by` nor in `over`.
        dataset, backbone, tag, name, since, user, timeout : as in `list`.

        Raises
        ------
        InvalidRequest : no run is there; unknown fields or metrics; runs of a row differ in something else, or one
            recipe is there twice.
        NotFound : a run has no metrics of `split` at `epoch`.
        """
        if runs is None:
            chosen: Sequence[Run] = self.list(
                dataset=dataset, backbone=backbone, tag=tag, name=name, since=since, user=user, timeout=timeout
            )
        else:
            chosen = [
                self.get(one, timeout=timeout) if isinstance(one, str) else record("runs", one, Run)
                for one in listed("runs", runs, "client.runs.list()")
            ]
        return run_table(chosen, by=by, over=over, split=split, metric=metric, epoch=epoch, across=across)

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
