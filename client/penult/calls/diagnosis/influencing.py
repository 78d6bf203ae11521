"""Influence: what each row that a refit was fitted on does to losses elsewhere."""

from penult.calls.waiting.queries import ask, shown_name
from penult.connection.rpc import Connection
from penult.results.diagnosis.influence import Influence
from penult.wire.diagnosis.influence import decoded_influence, influence_request
from penult.wire.encode_spectra import RowsLike, SourceLike
from penult.wire.references import ByLike, ResultLike


class Influencing:
    """Which rows a refit owes its accuracies to."""

    connection: Connection

    def influence(
        self,
        refit: ResultLike,
        on: SourceLike,
        *,
        by: ByLike = "group",
        target: str | None = None,
        top_k: int = 10,
        verify: int = 0,
        rows: RowsLike | None = None,
        split: str | None = None,
        across_checkpoints: bool = False,
        seed: int = 0,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Influence:
        """How the loss of each group changes when a row that was fitted is removed, for every row and group at once.

            found = client.influence(refit, on=sets["test"], by="group")
            found.most_harmful("boots, grass"), found.counterfactual

        One Newton step of the problem without the row, its leverage included, and losses elsewhere to first order; the
        rows of the largest changes exactly, by the optimum without each: all of a few hundred, some dozens of 20,000,
        see `.is_exact`. The draws that a refit averages, their weights and their standardisation stay what they are,
        and a penalty keeps its scale: beside the mean of the losses that are left, or beside their sum. To first
        order, with an l1 only weights that are not zero move. Positive: the row helps, for the loss is larger without
        it. The answer holds a real refit without the `top_k` rows that harm one group most.

        Parameters
        ----------
        refit : a stored refit with an optimum: no path, no risk of a group or a tail, no subspace, converged.
        on : the rows whose losses are looked at: a feature set, or with `split` a checkpoint.
        by : whose mean losses: of every "group", of every "class", of "all" rows; or the groups of a grouping.
        target : name of the group that the counterfactual is about; None: the one with the lowest accuracy.
        top_k : rows that the counterfactual leaves out at most; 0 for none.
        verify : that many rows, drawn by `seed`, are also removed one by one by real refits, see `.verified`.
        rows : look only at the losses of these rows: row ids; or a run, for the training examples its balancing kept.
        split : for a checkpoint, the split whose stored features are meant.
        across_checkpoints : whether `on` may hold features of another checkpoint than those that were fitted.
        seed : of the rows that are verified.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : a refit without an optimum; a `target` that has no rows; no row of a class left without
            those of `top_k`; kinds ``other_classes``, ``other_checkpoint``, ``empty_group``.
        NotFound : kinds ``unknown_result``, ``unknown_feature_set``.
        Busy : kind ``out_of_memory``.
        """
        request = influence_request(
            refit,
            on,
            split=split,
            rows=rows,
            by=by,
            target=target,
            top_k=top_k,
            verify=verify,
            across_checkpoints=across_checkpoints,
            seed=seed,
        )
        call, title = self.connection.stubs.diagnostics.ComputeInfluence, f"influence on {shown_name(on)}"
        return decoded_influence(ask(self.connection, call, request, timeout=timeout, title=title, progress=progress))
