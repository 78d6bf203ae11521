"""Registries of earlier versions brought to the newest.

alembic's revisions, each a file of `versions/`; it is imported only where a registry is not of the newest. SQLite's
registries of the time before it are taken to revision 0001 by the steps of `before`.
"""

import sqlite3

from sqlalchemy import Connection

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

REVISIONS = ("0001", "0002")
"""Every revision, the oldest first."""
HEAD = REVISIONS[-1]
FIRST_VERSION = 5
"""The `user_version` of a file that is revision 0001."""
LAST_VERSION = 6
"""The `user_version` of every file since: servers of the time before alembic refuse it."""


def check_known(place: str, version: int, head: str | None) -> None:
    """Raise ServiceError (VERSION_MISMATCH) for a registry of a newer penult."""
    if version > LAST_VERSION or (head is not None and head not in REVISIONS):
        newest = head if version == LAST_VERSION else version
        raise ServiceError(
            ErrorKind.VERSION_MISMATCH,
            f"{place} has schema {newest}, this server knows up to {HEAD}: upgrade the server",
        )


def run_migrations(connection: Connection, driver: sqlite3.Connection | None, version: int) -> None:
    """Bring a registry to the newest revision, within the transaction that is open; `driver`: of a file."""
    if driver is not None and version < LAST_VERSION:
        from penult_server.registry.migrations.before import STEPS

        for step in STEPS[version:]:
            step(driver)
        driver.execute(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, PRIMARY KEY (version_num))",
        )
        driver.execute(f"INSERT INTO alembic_version VALUES ('{REVISIONS[0]}')")
        driver.execute(f"PRAGMA user_version = {LAST_VERSION}")
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "penult_server.registry:migrations")
    command.upgrade(config, "head")
