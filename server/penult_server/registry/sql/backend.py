"""What a database must be able to do to hold a registry."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

from sqlalchemy import Connection


class Backend(Protocol):
    """A database that holds a registry, and the one connection to it. To be used from one thread."""

    place: str
    """What messages call it; without a password."""
    connection: Connection
    driver: Any
    """The connection as the database's own module has it."""
    has_seals: bool
    """Whether every row has a digest beside it."""
    begin: str
    """The statement that a transaction begins with."""

    def prepare(self) -> None:
        """Connect again where the connection was lost. Raises RegistryUnavailable."""
        ...

    def is_open(self) -> bool:
        """Whether a transaction is open."""
        ...

    def before_commit(self) -> object:
        """The last statement of a transaction; returns what `after_commit` and `was_committed` need."""
        ...

    def after_commit(self, mark: object) -> None:
        """A transaction was committed."""
        ...

    def was_committed(self, error: BaseException, mark: object) -> bool:
        """Whether a transaction was committed although its COMMIT has failed so."""
        ...

    def meaning(self, error: BaseException) -> Exception | None:
        """What to raise in place of an error of the database; None for a mistake of ours."""
        ...

    def structure(self) -> list[str]:
        """What is wrong with the database's own structures."""
        ...

    def version(self) -> str:
        """Another text whenever another process has written tokens."""
        ...

    def claim(self) -> bool:
        """Become the one that serves this registry; false while another does."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


@contextmanager
def atomic(backend: Backend) -> Generator[Connection, None, None]:
    """All of the block or nothing of it; errors as the database has them."""
    backend.driver.execute(backend.begin)
    mark: object = None
    try:
        yield backend.connection
        mark = backend.before_commit()
        backend.driver.execute("COMMIT")
    except BaseException as error:
        if mark is not None and backend.was_committed(error, mark):
            return
        # On a full disk SQLite has rolled back by itself.
        if backend.is_open():
            backend.driver.execute("ROLLBACK")
        raise
    backend.after_commit(mark)
