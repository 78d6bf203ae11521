"""Diagnostics of features: what there are, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.calls.waiting.queries import ask, shown_name
from penult.connection.rpc import Connection
from penult.errors import invalid
from penult.results.diagnosis.definitions import DiagnosticDefinition, definition_row
from penult.results.diagnosis.diagnosis import Diagnosis
from penult.results.lists.listing import Listing
from penult.results.records import Run
from penult.wire import decode
from penult.wire.diagnosis import decoding, encoding
from penult.wire.encode_spectra import RowsLike, SourceLike
from penult.wire.references import ByLike, run_id
from penult_proto.v1 import diagnostics_pb2, runs_pb2

if TYPE_CHECKING:
    from penult.results.diagnosis.epochs import RunDiagnosis


class Diagnosing:
    """Numbers of a feature set, each with a definition, an interval, its value at matched n and its null."""

    connection: Connection

    def diagnostics(self, *, timeout: float = 30.0) -> Listing[DiagnosticDefinition]:
        """Everything that is measured: ids by family, formulas, what they need and cost, and which call answers them.

            client.diagnostics().to_frame()

        The ids of `diagnose` come first; then numbers of panels, which ``evaluate(panels=[family])`` answers, measures
        of `compare`, and those of other calls. What is known by name and not offered has no call, and its formula says
        why.

        Parameters
        ----------
        timeout : seconds.
        """
        from penult.results.diagnosis.catalogue import beyond_diagnose  # not with `import penult`

        call = self.connection.stubs.diagnostics.ListDiagnostics
        answer = self.connection.unary(call, diagnostics_pb2.ListDiagnosticsRequest(), timeout=timeout)
        served = decoding.definitions([*answer.definitions, *answer.of_panels])
        return Listing([*served, *beyond_diagnose()], definition_row)

    def diagnose(
        self,
        features: SourceLike,
        ids: Sequence[str] | str,
        *,
        by: ByLike = "group",
        other: SourceLike | None = None,
        matched: bool = True,
        replicates: int = 200,
        numbers: Mapping[str, float] | None = None,
        rows: RowsLike | None = None,
        split: str | None = None,
        seed: int = 0,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Diagnosis:
        """Diagnostics of a feature set, all of them together: what several need is computed once.

            d = client.diagnose(sets["test"], ["nc", "rank_me"], by="group")
            d.value("nc1_pinv"), d.value("rank_me", "boots, grass").matched_value
            client.diagnose(sets["test"], "cka", other=other_sets["test"]).to_frame()

        Nearly every such number depends on how many rows it is of. So each stands with its 95 % interval, beside its
        value at matched n: the median over 200 draws of as many rows of every part as the smallest part has; and beside
        its null where one is known. What is not defined is NaN with a note that says why, never 0.

        Parameters
        ----------
        features : a feature set, or with `split` a checkpoint.
        ids : ids and families of `diagnostics`, such as "nc", "cka", "dimension".
        by : what the parts are: "group"; "class"; "all" rows as one; or a grouping, its digest or its name.
        other : features of the same examples from elsewhere, such as another checkpoint, for "cka"; rows are joined by
            their ids, and those of one set alone left out and counted in ``.notes``.
        matched : compute values at matched n.
        replicates : bootstrap draws of the intervals; 0 for no such intervals.
        numbers : numbers of single diagnostics by name, such as {"mle_k": 10}; ``diagnostics()`` says which use which.
        rows : use only these rows: row ids; or a run, for the training examples that its balancing kept.
        split : for a checkpoint, the split whose stored features are meant; `other` may be one, too.
        seed : of all draws; the same seed gives the same answer.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : an id that there is not (the message lists them); `other` or a number that has no effect, or is
            needed; more than half an hour of work; kind ``other_rows``: no row in common.
        NotFound : kind ``unknown_feature_set``.
        Busy : kind ``out_of_memory``.
        """
        request = encoding.diagnosis(
            features,
            ids,
            split=split,
            other=other,
            by=by,
            rows=rows,
            matched=matched,
            replicates=replicates,
            numbers=numbers,
            seed=seed,
        )
        call, title = self.connection.stubs.diagnostics.Diagnose, f"diagnostics of {shown_name(features)}"
        return decoding.diagnosis(ask(self.connection, call, request, timeout=timeout, title=title, progress=progress))

    def diagnose_run(
        self,
        run: Run | str,
        ids: Sequence[str] | str,
        *,
        split: str,
        by: ByLike = "group",
        matched: bool = False,
        replicates: int = 200,
        numbers: Mapping[str, float] | None = None,
        rows: RowsLike | None = None,
        seed: int = 0,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> RunDiagnosis:
        """`diagnose` of every checkpoint of a run: when the shortcut is learned, when groups pull against each other.

            found = client.diagnose_run(run, ["decodability", "gradient_conflict"], split="val")
            found.learning_order(), found.matrix("gradient_conflict"), found.plot()

        The features of `split` must have been extracted for each of them. Every epoch's answer is stored by itself.

        Parameters
        ----------
        run, split : whose checkpoints, and which of their features.
        ids, by, matched, replicates, numbers, rows, seed, progress : as for `diagnose`.
        timeout : seconds for each checkpoint.

        Raises
        ------
        InvalidRequest : as for `diagnose`; what compares with a second set has none here.
        NotFound : kinds ``unknown_run``, ``unknown_feature_set``.
        """
        from penult.results.diagnosis.epochs import RunDiagnosis  # not with `import penult`

        of_split = coerce.text("split", split, example="'val'")
        request = build(runs_pb2.GetRunRequest, id=run_id(run))
        found = decode.run(self.connection.unary(self.connection.stubs.runs.GetRun, request, timeout=timeout))
        if not found.checkpoints:
            raise invalid(f"run {found.id} has no checkpoint to diagnose", argument="run")
        diagnoses = tuple(
            self.diagnose(
                checkpoint,
                ids,
                split=of_split,
                by=by,
                matched=matched,
                replicates=replicates,
                numbers=numbers,
                rows=rows,
                seed=seed,
                timeout=timeout,
                progress=progress,
            )
            for checkpoint in found.checkpoints
        )
        return RunDiagnosis(
            run=found.id,
            split=of_split,
            epochs=np.array([checkpoint.epoch for checkpoint in found.checkpoints], dtype=np.float64),
            checkpoints=tuple(checkpoint.digest for checkpoint in found.checkpoints),
            diagnoses=diagnoses,
        )
