"""The client: everything that can be asked of a server."""

from types import TracebackType
from typing import Self

from penult.calls.about import About
from penult.calls.catalog.groupings import Groupings
from penult.calls.catalog.results import Results
from penult.calls.checkpoints import Checkpoints
from penult.calls.datasets import Datasets
from penult.calls.diagnosis.gaps import ExplainingGaps
from penult.calls.diagnosis.influencing import Influencing
from penult.calls.diagnosis.questions import Diagnosing
from penult.calls.diagnosis.systems import ComparingSystems
from penult.calls.discovery.comparing import Comparing
from penult.calls.features import FeatureSets
from penult.calls.jobs import Jobs
from penult.calls.merging.merging import Merging
from penult.calls.neighbourhood.questions import Neighbourhood
from penult.calls.neighbourhood.searching import Searching
from penult.calls.pictures.maps import Pictures
from penult.calls.runs import Runs
from penult.calls.storage import Storage
from penult.connection.rpc import Connection
from penult.results.records import Info


class Client(
    Merging,
    Searching,
    ExplainingGaps,
    Neighbourhood,
    Diagnosing,
    Influencing,
    ComparingSystems,
    Comparing,
    Pictures,
    Storage,
    About,
):
    """A connection to a penult server; made by `penult.connect` or `penult.local`.

    A context manager; may be shared between threads. Feature sets are given to its methods as a record, a
    digest, the start of one (at least 4 characters) or a name. Every method has a deadline, ``timeout=`` in
    seconds, and raises `PenultError` (see ``penult.errors``).

    Attributes
    ----------
    checkpoints, datasets, features, groupings, runs, jobs, results : what is stored, by kind.
    """

    def __init__(self, connection: Connection, info: Info) -> None:
        self.connection = connection
        self.checkpoints = Checkpoints(connection)
        self.datasets = Datasets(connection)
        self.features = FeatureSets(connection, info.chunk_bytes)
        self.groupings = Groupings(connection)
        self.runs = Runs(connection)
        self.jobs = Jobs(connection)
        self.results = Results(connection)

    def close(self) -> None:
        """End the connection. Jobs go on (see `penult.local` for its server). May be called again."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.connection.address})"
