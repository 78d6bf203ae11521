"""The tree of what a checkpoint was made of."""

from penult.calls.catalog.results import Results
from penult.calls.checkpoints import Checkpoints
from penult.calls.runs import Runs
from penult.connection.rpc import Connection
from penult.errors import NotFound
from penult.results.merging.merge import Lineage
from penult.results.records import Checkpoint
from penult.results.refits import Refit


def lineage_of(connection: Connection, checkpoint: Checkpoint, timeout: float) -> Lineage:
    """The tree below a checkpoint; what stands in it twice is followed once."""
    return _Tree(connection, timeout).below(checkpoint.digest, "", checkpoint)


class _Tree:
    def __init__(self, connection: Connection, timeout: float) -> None:
        self._checkpoints, self._runs = Checkpoints(connection), Runs(connection)
        self._results = Results(connection)
        self._timeout = timeout
        self._seen: set[str] = set()

    def below(self, digest: str, role: str, known: Checkpoint | None = None) -> Lineage:
        """One checkpoint and what it was made of."""
        checkpoint = known or self._checkpoint(digest)
        if checkpoint is None or digest in self._seen:
            return Lineage(digest=digest, checkpoint=checkpoint, role=role, is_repeated=checkpoint is not None)
        self._seen.add(digest)
        children = tuple(self.below(one, what) for one, what in self._made_of(checkpoint))
        return Lineage(digest=digest, checkpoint=checkpoint, role=role, children=children)

    def _made_of(self, checkpoint: Checkpoint) -> list[tuple[str, str]]:
        """Digests and roles."""
        if checkpoint.merge is not None:
            base = [(checkpoint.merge.base, "base")] if checkpoint.merge.base else []
            return [*base, *((one, "parent") for one in checkpoint.merge.parents)]
        start = self._start(checkpoint.run_id) if checkpoint.run_id else ""
        return [(start, "start")] if start and start != checkpoint.digest else []

    def _checkpoint(self, digest: str) -> Checkpoint | None:
        try:
            return self._checkpoints.get(digest, timeout=self._timeout)
        except NotFound:
            return None

    def _start(self, run: str) -> str:
        """The checkpoint whose body a run started from; empty for none, and where the run or its start was deleted."""
        try:
            start = self._runs.get(run, timeout=self._timeout).spec.start or ""
            found = self._results.get(start, timeout=self._timeout) if start and not self._checkpoint(start) else None
        except NotFound:
            return ""
        return found.head.checkpoint if isinstance(found, Refit) else start
