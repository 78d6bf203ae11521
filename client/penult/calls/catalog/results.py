"""Stored answers of a server: ``client.results``."""

from collections.abc import Sequence
from dataclasses import replace

from penult.arguments.coerce import build, choice
from penult.calls import storage
from penult.calls.catalog.paging import collect, describe
from penult.connection.rpc import Connection
from penult.errors import ServerBug
from penult.results.lists.columns import result_row
from penult.results.lists.listing import Listing
from penult.results.lists.stored import ResultSummary
from penult.results.refits import Refit
from penult.results.space.deletion import Deletion
from penult.results.spectra import Spectra
from penult.types import ResultKind
from penult.wire import decode_refits, decode_spectra, encode
from penult.wire.diagnosis.decoding import diagnosis
from penult.wire.diagnosis.influence import decoded_influence
from penult.wire.encode import Since
from penult.wire.neighbourhood import decoding
from penult.wire.references import Answer, FeatureSetLike, ResultLike, feature_set_name, result_digest
from penult_proto.v1 import catalog_pb2


class Results:
    """Stored answers: refits, spectra, descriptors, principal angles. A query that is asked again finds its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        *,
        kind: ResultKind | None = None,
        feature_set: FeatureSetLike | None = None,
        tag: str | Sequence[str] | None = None,
        name: str | None = None,
        since: Since | None = None,
        user: str | None = None,
        limit: int | None = None,
        timeout: float = 30.0,
    ) -> Listing[ResultSummary]:
        """Stored answers in a line each, newest first; all of them by default.

        Parameters
        ----------
        kind : "refit", "spectra", "descriptors" or "principal_angles", "neighbour_metrics", "duplicates", "label_noise"
            "neighbour_rates", "diagnosis" or "influence".
        feature_set : the set that was fitted or looked at.
        tag, name, since, user, limit : as for `Runs.list`.
        timeout : seconds for each page of the list.
        """
        every = catalog_pb2.RESULT_KIND_UNSPECIFIED
        number = every if kind is None else choice("kind", kind, catalog_pb2.ResultKind)
        of = "" if feature_set is None else feature_set_name(feature_set, "feature_set")
        call = self._connection.stubs.catalog.ListResults
        found = collect(
            lambda options, length: self._connection.unary(
                call,
                build(catalog_pb2.ListResultsRequest, kind=number, feature_set=of, options=options, limit=length),
                timeout=timeout,
            ),
            lambda page: page.results,
            encode.list_options(tag=tag, name=name, since=since, user=user),
            limit,
        )
        return Listing(map(decode_refits.result_summary, found), result_row)

    def get(self, result: ResultLike, *, timeout: float = 60.0) -> Answer:
        """The whole answer of a digest, of the start of one (at least 4 characters), of a name, or of a summary.

        Raises `NotFound`.
        """
        request = build(catalog_pb2.GetResultRequest, digest=result_digest(result))
        answer = self._connection.unary(self._connection.stubs.catalog.GetResult, request, timeout=timeout)
        match answer.WhichOneof("kind"):
            case "refit":
                return decode_refits.refit(answer.refit)
            case "spectra":
                return decode_spectra.spectra(answer.spectra)
            case "descriptors":
                return decode_spectra.descriptors(answer.descriptors)
            case "principal_angles":
                return decode_spectra.principal_angles(answer.principal_angles)
            case "neighbour_metrics":
                return decoding.neighbour_metrics(answer.neighbour_metrics)
            case "duplicates":
                return decoding.duplicates(answer.duplicates)
            case "label_noise":
                return decoding.label_noise(answer.label_noise)
            case "neighbour_rates":
                return decoding.neighbour_rates(answer.neighbour_rates)
            case "diagnosis":
                return diagnosis(answer.diagnosis)
            case "influence":
                return decoded_influence(answer.influence)
            case None:
                raise ServerBug("the server sent an empty result")

    def describe(
        self,
        result: ResultLike,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Name an answer, tag it, write a note; see `Runs.describe`. Returns it, with its notes."""
        digest, notes = describe(
            self._connection,
            catalog_pb2.THING_KIND_RESULT,
            result_digest(result),
            name=name,
            tags=tags,
            note=note,
            timeout=timeout,
        )
        answer = self.get(digest, timeout=timeout)
        if isinstance(answer, Refit | Spectra):
            return replace(answer, notes=(*answer.notes, *notes))
        return answer

    def delete(
        self,
        result: ResultLike,
        *,
        dependents: bool = False,
        dry_run: bool = False,
        timeout: float = storage.DELETE_SECONDS,
    ) -> Deletion:
        """Delete a stored answer, given as `get` takes it.

        The same request again is computed anew. Stored answers depend on nothing, and stay when the features that they
        are about are deleted; runs that were started from a refit depend on it.

        Parameters
        ----------
        dependents : delete the runs that were started from it, with everything of theirs, too.
        dry_run : only say what would go.
        timeout : seconds.

        Raises
        ------
        NotFound : there is no such answer.
        PreconditionFailed : kind ``in_use``: something depends on it, or a job needs it.
        """
        return storage.delete(
            self._connection,
            "result",
            result_digest(result),
            dependents=dependents,
            dry_run=dry_run,
            timeout=timeout,
        )
