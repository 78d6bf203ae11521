"""Stored answers of a server: ``client.results``."""

from penult.arguments.coerce import text
from penult.calls import storage
from penult.connection.rpc import Connection
from penult.results.descriptors import Descriptors, PrincipalAngles
from penult.results.refits import Refit
from penult.results.space.deletion import Deletion
from penult.results.spectra import Spectra


class Results:
    """Answers that the server has kept: refits, spectra, descriptors, principal angles."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def delete(
        self,
        result: Refit | Spectra | Descriptors | PrincipalAngles | str,
        *,
        dependents: bool = False,
        dry_run: bool = False,
        timeout: float = storage.DELETE_SECONDS,
    ) -> Deletion:
        """Delete a stored answer, given as a record, its digest, or the start of one (at least 8 characters).

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
        digest = result if isinstance(result, str) else result.digest
        return storage.delete(
            self._connection,
            "result",
            text("result", digest),
            dependents=dependents,
            dry_run=dry_run,
            timeout=timeout,
        )
