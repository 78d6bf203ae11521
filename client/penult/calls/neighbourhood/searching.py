"""The nearest neighbours of stored rows."""

from penult.calls.waiting.queries import shown_name, waiting
from penult.connection.rpc import Connection
from penult.results.neighbourhood.neighbours import Neighbours
from penult.types import NeighbourMethod, NeighbourMetric, NeighbourWithin
from penult.wire.encode_spectra import RowsLike, SourceLike
from penult.wire.neighbourhood import searching
from penult.wire.references import ByLike, FeatureSetLike


class Searching:
    """Nearest neighbours."""

    connection: Connection

    def neighbours(
        self,
        features: SourceLike,
        *,
        among: FeatureSetLike | None = None,
        k: int = 10,
        metric: NeighbourMetric = "cosine",
        within: NeighbourWithin | None = None,
        by: ByLike = "group",
        recall: float = 1.0,
        method: NeighbourMethod | None = None,
        split: str | None = None,
        rows: RowsLike | None = None,
        across_checkpoints: bool = False,
        seed: int = 0,
        timeout: float = 3600.0,
        progress: bool | None = None,
    ) -> Neighbours:
        """The k nearest rows of each row, with their distances in float64.

            client.neighbours(sets["train"], k=5).row_id
            client.neighbours(sets["test"], among=sets["train"], within="class", metric="l2").to_frame()
            client.neighbours(sets["train"], recall=0.99).recall  # of a set of a million rows, by an index

        Found in float32 and decided in float64: rows are centered (or scaled to length 1), so that a mean far from zero
        costs no neighbour, and every candidate is measured in float64 from the rows as they are stored. Equally near
        rows come in the order of their ids. Of whole sets the 64 nearest are stored with the set, and every later
        question for fewer is answered from them.

        Parameters
        ----------
        features : whose neighbours: a feature set, or with `split` a checkpoint.
        among : the set in which they are looked for, of the same checkpoint. None: `features` itself, each row left out
            by its id, also where it has exact duplicates.
        k : neighbours of each row.
        metric : "cosine" (1 - cosine), "l2", or "inner" (minus the inner product, which is no metric).
        within : look among the rows of the same "class", "group" or "attribute", or of another one ("other_class",
            "other_group", "other_attribute"). A row with fewer than k such rows has NaN behind them.
        by : a grouping, whose values then stand in for the attribute; rows in none of its groups are left out.
        recall : share of the exact neighbours that must be found, above 0. Below 1 large sets are searched by an index,
            searched more broadly until a sample of rows finds as many: ``.recall`` says how many, with an interval.
        method : "exact", "ivf", "hnsw" or "pq"; None: "exact" for recall=1 and fewer than 100,000 rows, else the
            cheapest for `recall`.
        split : for a checkpoint, the split whose stored features are meant.
        rows : ask about these rows only: row ids; or a run, for the training examples that its balancing kept. Without
            `among` neighbours are looked for among them, too.
        across_checkpoints : let the sets be of different checkpoints.
        seed : of an index and of its sample.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : an argument is out of its range; kind ``zero_row``: a row of zeros has no cosine;
            ``wrong_shape``, ``other_checkpoint``: rows of these sets have no distance; ``attribute_missing``.
        NotFound : kinds ``unknown_feature_set``, ``unknown_grouping``.
        Busy : kind ``out_of_memory``: the answer needs more memory than the server has.
        """
        query = searching.neighbour_query(
            features,
            among,
            k=k,
            metric=metric,
            within=within,
            by=by,
            recall=recall,
            method=method,
            split=split,
            rows=rows,
            across_checkpoints=across_checkpoints,
            seed=seed,
        )
        call = self.connection.stubs.neighbours.ReadNeighbours
        with (
            waiting(self.connection, f"neighbours of {shown_name(features)}", progress) as metadata,
            self.connection.stream(call, query, timeout=timeout, metadata=metadata) as messages,
        ):
            return searching.neighbours(messages)
