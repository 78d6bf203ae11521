"""The part of the client that asks for spectra of covariances, and what is read off them."""

from collections.abc import Sequence

from penult.calls.waiting.queries import ask, shown_name, waiting
from penult.connection.rpc import Connection
from penult.results.descriptors import Descriptors, Eigenvectors, PrincipalAngles
from penult.results.records import Run
from penult.results.run_spectra import RunSpectra
from penult.results.spectra import Spectra
from penult.types import SpectraWeights
from penult.wire import decode_spectra, encode, encode_spectra
from penult.wire.encode_spectra import RowsLike, SourceLike
from penult.wire.references import ByLike


class Spectral:
    """Spectra, their eigenvectors, and what is read off them."""

    connection: Connection

    def spectra(
        self,
        features: SourceLike,
        *,
        split: str | None = None,
        by: ByLike = "group",
        top_k: int | None = None,
        correction: int = 0,
        center: bool = True,
        replicates: int | None = None,
        confidence: float = 0.95,
        seed: int = 0,
        rows: RowsLike | None = None,
        weights: SpectraWeights | None = None,
        gamma: float | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Spectra:
        """Eigenvalues of the covariance of the features of each group or class, and how they compare.

            client.spectra(sets["train"], by="group", top_k=5).imbalance
            client.spectra(run.checkpoints[-1], split="train", rows=run, replicates=0).eigenvalues
            client.spectra(sets["train"], by="class", replicates=20, seed=1).to_frame()

        With n_g examples z_i in group g and their mean m_g,

            Sigma_g = sum_i (z_i - m_g)(z_i - m_g)^T / (n_g - correction)

        (LaBonte et al. 2024, section 5), in float64, eigenvalues descending. Groups that are empty get NaN. The
        ratio of the largest eigenvalues of a minority and a majority grows when the minority is small, whatever its
        distribution: ``.imbalance`` holds it beside the ratio at equal sizes, with an interval and a p-value.

        Parameters
        ----------
        features : what to look at: a feature set, or with `split` a checkpoint.
        split : for a checkpoint, the split whose stored features are meant.
        by : "group"; "class", which pools the groups of each class; or a grouping, its digest or its name, whose groups
            are meant (``client.groupings``). Rows in none of them are left out, and counted in ``.grouping``.
        top_k : eigenvalues returned, the largest; at most D, and all D by default.
        correction : the divisor is n_g - correction: 0 (the paper) or 1 (unbiased).
        center : second moments about the mean; about zero when False.
        replicates : number of subsamples of the majority, of bootstrap samples and of permutations; 0 for none. By
            default interval and p-value of large groups come from all rows without replicates, those of others from
            200: ``.inference`` says which. The minority must have 1,000 rows, its largest eigenvalue stand apart, and
            no few rows decide (normal intervals by the influence function; the p-value is that of the permutation
            test's limit).
        confidence : level of the intervals, between 0 and 1.
        seed : of all resampling; the same seed gives the same answer.
        rows : use only these rows: row ids; or a run (or its id or name), for the training examples that its balancing
            kept.
        weights : ["uniform"]; "errors" weighs each row by exp(gamma (1 - p_i[y_i])) under the logits stored with the
            features, or their head (LEIA, Gourabathina et al. 2026): the covariance of a part is that of its errors, by
            "group", "class", a grouping or "all" rows together. ``.interval`` then holds a bootstrap interval of each
            largest eigenvalue, and ratios have none.
        gamma : of "errors", at least 0 [10.0].
        name, tags, note : of the answer, to find it by and for people; no part of the request. A name that another
            answer has moves here, and ``.notes`` says from which. Change them with ``client.results.describe``.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : an argument is out of its range, or `rows` names rows that the set does not have.
        NotFound : kind ``unknown_feature_set``; for a checkpoint that has no features of `split` yet, the
            message holds the call that makes them.
        Busy : kind ``out_of_memory``: the answer needs more memory than the server has.
        """
        request = encode_spectra.spectra_request(
            features,
            split=split,
            by=by,
            top_k=top_k,
            correction=correction,
            center=center,
            replicates=replicates,
            confidence=confidence,
            seed=seed,
            rows=rows,
            weights=weights,
            gamma=gamma,
        )
        request.card.CopyFrom(encode.card(name, tags, note))
        call = self.connection.stubs.spectra.ComputeSpectra
        return decode_spectra.spectra(
            ask(
                self.connection,
                call,
                request,
                timeout=timeout,
                title=f"spectra of {shown_name(features)}",
                progress=progress,
            )
        )

    def run_spectra(
        self,
        run: Run | str,
        *,
        split: str,
        by: ByLike = "group",
        top_k: int | None = None,
        correction: int = 0,
        center: bool = True,
        replicates: int | None = None,
        confidence: float = 0.95,
        seed: int = 0,
        rows: RowsLike | None = None,
        weights: SpectraWeights | None = None,
        gamma: float | None = None,
        timeout: float = 3600.0,
        progress: bool | None = None,
    ) -> RunSpectra:
        """The `spectra` of every checkpoint of a run, as one answer: ``.eigenvalues`` (E, G, K).

        The features of `split` must have been extracted for each of them; the error names those that are
        missing and the call that makes them. The other arguments, `progress` too, are those of `spectra`.

        Raises
        ------
        NotFound : kinds ``unknown_run``, ``unknown_feature_set``.
        """
        query = encode_spectra.spectra_request(
            None,
            by=by,
            top_k=top_k,
            correction=correction,
            center=center,
            replicates=replicates,
            confidence=confidence,
            seed=seed,
            rows=rows,
            weights=weights,
            gamma=gamma,
        )
        request = encode_spectra.run_spectra_request(run, split, query)
        call = self.connection.stubs.spectra.ComputeRunSpectra
        return decode_spectra.run_spectra(
            ask(
                self.connection,
                call,
                request,
                timeout=timeout,
                title=f"spectra of {shown_name(run)}",
                progress=progress,
            )
        )

    def descriptors(
        self,
        features: SourceLike,
        *,
        split: str | None = None,
        by: ByLike = "group",
        rows: RowsLike | None = None,
        power_law: tuple[int, int] = (11, 50),
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Descriptors:
        """Numbers read off the spectrum of each group or class, each with its formula and paper.

        Participation ratio, effective rank, RankMe, power-law exponent; and the fractions of the total
        variance that lie between classes, between attribute values and between groups.

        Parameters
        ----------
        features, split, by, rows : as for `spectra`.
        power_law : first and last rank of the fit; NaN for groups that have fewer positive eigenvalues.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest, NotFound, Busy : as for `spectra`.
        """
        request = encode_spectra.descriptors_request(features, split=split, by=by, rows=rows, power_law=power_law)
        call = self.connection.stubs.spectra.ComputeDescriptors
        return decode_spectra.descriptors(
            ask(
                self.connection,
                call,
                request,
                timeout=timeout,
                title=f"descriptors of {shown_name(features)}",
                progress=progress,
            )
        )

    def eigenvectors(
        self,
        features: SourceLike,
        *,
        split: str | None = None,
        by: ByLike = "group",
        top_k: int = 10,
        correction: int = 0,
        center: bool = True,
        rows: RowsLike | None = None,
        timeout: float = 3600.0,
        progress: bool | None = None,
    ) -> Eigenvectors:
        """Top eigenvectors of the covariance of each group or class, read as a stream; nothing of them is stored.

        The sign is such that the entry of largest magnitude is positive. A group of n rows spans n - 1 directions
        about its mean: the vectors beyond them are any orthonormal ones, with eigenvalue 0. Groups that are
        empty get NaN.

        Parameters
        ----------
        features, split, by, correction, center, rows : as for `spectra`.
        top_k : eigenvectors of each group or class, 1 to D.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest, NotFound, Busy : as for `spectra`.
        """
        request = encode_spectra.eigenvectors_request(
            features, split=split, by=by, top_k=top_k, correction=correction, center=center, rows=rows
        )
        call = self.connection.stubs.spectra.ReadEigenvectors
        with (
            waiting(self.connection, f"eigenvectors of {shown_name(features)}", progress) as metadata,
            self.connection.stream(call, request, timeout=timeout, metadata=metadata) as messages,
        ):
            return decode_spectra.eigenvectors(messages)

    def principal_angles(
        self,
        first: SourceLike,
        second: SourceLike,
        *,
        groups: tuple[str | int, str | int],
        split: str | None = None,
        by: ByLike = "group",
        top_k: int = 10,
        rows: RowsLike | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> PrincipalAngles:
        """Angles between the spans of the top eigenvectors of two groups, or of one group in two feature sets.

        Parameters
        ----------
        first, second : feature sets, or with `split` checkpoints; twice the same to compare two of its groups.
        groups : the group (or, by class, the class) of each, by name or index.
        split, by, rows : as for `spectra`; for both.
        top_k : eigenvectors of each group; fewer than the rows of either.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest, NotFound, Busy : as for `spectra`; InvalidRequest also for a group that does not exist.
        """
        request = encode_spectra.angles_request(
            first, second, groups=groups, split=split, by=by, top_k=top_k, rows=rows
        )
        call = self.connection.stubs.spectra.ComputePrincipalAngles
        return decode_spectra.principal_angles(
            ask(
                self.connection,
                call,
                request,
                timeout=timeout,
                title=f"angles of {shown_name(first)} and {shown_name(second)}",
                progress=progress,
            )
        )
