"""The registry on a PostgreSQL server: how it is reached again when it was away, and what its errors mean."""

import time
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from penult_proto.errors import ErrorKind
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.logs.secrets import conceal
from penult_server.machine.disks import FAILED, FULL, OUT_OF_MEMORY, Meaning
from penult_server.registry.migrations import HEAD, LAST_VERSION, check_known, run_migrations
from penult_server.registry.sql.backend import atomic
from penult_server.registry.sql.schema import new_schema

SCHEMES = ("postgresql", "postgres")
SERVES = 0x70656E756C74
"""Key of the lock that the server of a registry holds, within its database."""
MIGRATES = SERVES + 1
AWAY_SECONDS = 15.0
"""How long a server that is away, as while it starts again, is waited for."""
RETRY_SECONDS = 0.2
CONNECT_SECONDS = 5
_BY_STATE: dict[str, Meaning] = {
    "53100": FULL,
    "53200": OUT_OF_MEMORY,
    "53300": (ErrorKind.BUSY, "the registry's PostgreSQL has no connection left ({why}); ask again"),
    "58030": FAILED,
    "25006": (ErrorKind.DISK_FAILED, "the registry's PostgreSQL only reads ({why}): it must be the primary server"),
    "42501": (ErrorKind.DISK_FAILED, "the registry's PostgreSQL does not allow it ({why}): give its user the rights"),
    "54000": (ErrorKind.TOO_LARGE, "a text or an answer is too large ({why})"),
    **dict.fromkeys(("40001", "40P01", "55P03"), (ErrorKind.BUSY, "the registry is in use ({why}); ask again")),
}
"""What PostgreSQL's states mean."""
_CHARACTERS = ("22021", "22P05")
"""States of a text with a NUL, in it or in its JSON."""
_DAMAGE = "XX"
"""Class of the states that say that stored data are damaged."""


class PostgresServer:
    """One connection to a server, made anew when it was lost. To be used from one thread."""

    has_seals = False
    begin = "BEGIN"

    def __init__(self, url: str) -> None:
        """Open the registry in a database, or make it there.

        Raises ServiceError: INVALID_ARGUMENT for a URL, or a database, that cannot be one; VERSION_MISMATCH when a
        newer penult wrote it. Raises RegistryUnavailable.
        """
        parsed = parse_url(url)
        self.place = parsed.set(drivername="postgresql").render_as_string(hide_password=True)
        try:
            self._engine = create_engine(
                parsed,
                poolclass=NullPool,
                pool_reset_on_return=None,
                # Transactions are opened and committed by `atomic`, and by nothing else.
                isolation_level="AUTOCOMMIT",
                # A server that is gone without a word is noticed; texts are texts, whatever the database is made of.
                connect_args={
                    "client_encoding": "utf8",
                    "connect_timeout": CONNECT_SECONDS,
                    "application_name": "penult",
                    "keepalives_idle": 10,
                    "keepalives_interval": 5,
                    "keepalives_count": 3,
                    "tcp_user_timeout": 20_000,
                },
            )
        except ImportError as error:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                "a registry on PostgreSQL needs psycopg: install penult with its extra `postgres`",
            ) from error
        self._serves = self._is_superseded = self._is_away = False
        self.connection: Connection
        self.driver: Any = None
        try:
            self._connect()
            self._migrate()
        except DBAPIError as error:
            self.close()
            raise self.meaning(error) or error from error
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        self.connection = self._engine.connect()
        self.connection.begin()
        self.driver = self.connection.connection.dbapi_connection

    def _one(self, query: str) -> Any:
        row = self.driver.execute(query).fetchone()
        return row[0] if row else None

    def _migrate(self) -> None:
        encoding = self._one("SHOW server_encoding")
        if encoding != "UTF8":
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"the database of {self.place} must be of the encoding UTF8, got {encoding}: make another by "
                "`createdb --encoding UTF8 --template template0`",
            )
        if self._revision() == HEAD:
            return
        # Outside the transaction, which sees the tables that there are at its start.
        self.driver.execute(f"SELECT pg_advisory_lock({MIGRATES})")
        try:
            with atomic(self):
                revision = self._revision()  # another server may have been quicker
                if revision is None:
                    for statement in new_schema(self.connection):
                        self.driver.execute(statement)
                elif revision != HEAD:
                    check_known(self.place, LAST_VERSION, revision)
                    run_migrations(self.connection, None, LAST_VERSION)
        finally:
            self.driver.execute(f"SELECT pg_advisory_unlock({MIGRATES})")

    def _revision(self) -> str | None:
        """None where there is no registry yet."""
        if self._one("SELECT to_regclass('alembic_version')") is None:
            return None
        return self._one("SELECT version_num FROM alembic_version")

    def prepare(self) -> None:
        """Connect again where the connection was lost, and wait for a server that is away. Raises RegistryUnavailable.

        The one that served goes on serving, unless another does by then.
        """
        if self._is_superseded:
            raise self._superseded()
        if not self.driver.closed:
            return
        # Only the first call waits: those behind it would wait in turn.
        deadline = time.monotonic() + (0.0 if self._is_away else AWAY_SECONDS)
        self._leave()
        while True:
            try:
                self._connect()
            except DBAPIError as error:
                if time.monotonic() >= deadline:
                    self._is_away = True
                    raise self._away(error) from error
                time.sleep(RETRY_SECONDS)
            else:
                break
        self._is_away = False
        if self._serves and not self.claim():
            self._is_superseded = True
            raise self._superseded()

    def _superseded(self) -> RegistryUnavailable:
        return RegistryUnavailable(
            ErrorKind.STORE_LOCKED, f"another server has taken over the registry {self.place}; this one must stop"
        )

    def is_open(self) -> bool:
        """Whether a transaction is open, on a connection that is there."""
        return not self.driver.closed and self.driver.info.transaction_status != 0

    def before_commit(self) -> object:
        """The number of the transaction, if it has written: by it can be asked later what became of it."""
        return self._one("SELECT pg_current_xact_id_if_assigned()::text") or "none"

    def after_commit(self, mark: object) -> None:
        """Nothing is to be noted."""

    def was_committed(self, error: BaseException, mark: object) -> bool:
        """Whether a transaction was committed whose COMMIT had no answer."""
        if not self.driver.closed or mark == "none":
            return False
        self.prepare()
        status, deadline = "in progress", time.monotonic() + AWAY_SECONDS
        while status == "in progress" and time.monotonic() < deadline:
            status = self._one(f"SELECT pg_xact_status('{mark}'::xid8)")
        return status == "committed"

    def meaning(self, error: BaseException) -> Exception | None:
        """What to raise in place of an error of PostgreSQL."""
        own = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if not type(own).__module__.startswith("psycopg"):
            return None
        said = " ".join(str(own).split())
        state = getattr(own, "sqlstate", None) or ""
        # The server went, was stopped, or does not take connections yet.
        is_cut = state[:2] in ("08", "57") or (not state and type(own).__name__ == "OperationalError")
        if state in _BY_STATE:
            kind, message = _BY_STATE[state]
            return RegistryUnavailable(kind, message.format(why=said))
        if state in _CHARACTERS or (not state and type(own).__name__ == "DataError"):
            return ServiceError(
                ErrorKind.INVALID_ARGUMENT, f"a text has a character that PostgreSQL does not keep ({said})"
            )
        if state.startswith(_DAMAGE):
            return ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"the registry's PostgreSQL says that its data are damaged ({said}): restore a backup of the database",
            )
        return self._away(own, was_cut=True) if is_cut else None

    def _away(self, error: BaseException, *, was_cut: bool = False) -> RegistryUnavailable:
        own = error.orig if isinstance(error, DBAPIError) else error
        said = " ".join(str(own).split())
        message = f"the registry {self.place} cannot be reached ({said}); ask again"
        return RegistryUnavailable(ErrorKind.BUSY, message, was_cut=was_cut)

    def structure(self) -> list[str]:
        """PostgreSQL looks after its own files."""
        return []

    def version(self) -> str:
        """Another text whenever a token was given or has ended."""
        return str(self._one("SELECT (count(*), max(created), count(revoked), max(revoked))::text FROM token"))

    def claim(self) -> bool:
        """Become the one that serves, until the connection is lost; false while another one is."""
        self._serves = bool(self._one(f"SELECT pg_try_advisory_lock({SERVES})"))
        return self._serves

    def close(self) -> None:
        """Disconnect."""
        if self.driver is not None:
            self._leave()
        self._engine.dispose()

    def _leave(self) -> None:
        self.driver.close()
        if not self.connection.closed:
            self.connection.invalidate()
            self.connection.close()


def parse_url(url: str) -> URL:
    """The URL of a registry, whose password is written nowhere from now on. Raises ServiceError (INVALID_ARGUMENT)."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in SCHEMES or not parsed.database:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "--registry must be like postgresql://user:password@host:5432/database, or "
            "postgresql://user@/database?host=/run/postgresql",
        )
    password = str(parsed.password or "")
    for written in (password, quote(password, safe="")):
        conceal(written)
    return parsed.set(drivername="postgresql+psycopg")
