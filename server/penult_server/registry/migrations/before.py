"""SQLite's registries of the time before alembic: what version 1 was, and the steps from each version to the fifth.

The fifth is revision 0001, from where the revisions beside go on.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from penult_server.registry.sql.triggers import cards_in_sqlite, names_in_sqlite
from penult_server.registry.summaries import summary_row
from penult_server.registry.tables import PLACES, THINGS
from penult_server.stores.disk.sealed import add_seals

VERSION_1 = """
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    spec_digest TEXT NOT NULL,
    request_id TEXT UNIQUE,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    deaths INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL
) STRICT;
CREATE INDEX job_by_spec ON job (spec_digest, created);
CREATE INDEX job_by_state ON job (state, created);
CREATE TABLE job_event (
    job TEXT NOT NULL REFERENCES job (id),
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE dataset (name TEXT PRIMARY KEY, digest TEXT NOT NULL, message TEXT NOT NULL) STRICT;
CREATE TABLE checkpoint (digest TEXT PRIMARY KEY, message TEXT NOT NULL) STRICT;
CREATE TABLE run (id TEXT PRIMARY KEY, created REAL NOT NULL, message TEXT NOT NULL) STRICT;
CREATE TABLE feature_set (digest TEXT PRIMARY KEY, created REAL NOT NULL, message TEXT NOT NULL) STRICT;
CREATE TABLE feature_name (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL REFERENCES feature_set (digest) ON DELETE CASCADE
) STRICT;
CREATE TABLE result (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    created REAL NOT NULL,
    message BLOB NOT NULL
) STRICT;
"""

OF_VERSION_2 = ("job", "dataset", "checkpoint", "run", "feature_set", "result")
"""Tables that got their cards by the step to version 2; later ones have theirs from the step that makes them."""

# A summary has a table of its own: columns behind a large answer could only be read through it.
CARDS = """
CREATE TABLE card (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '[]',
    note TEXT NOT NULL DEFAULT '',
    user TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;
CREATE INDEX card_by_time ON card (kind, created);
CREATE TABLE name (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    given REAL NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;
CREATE INDEX name_by_id ON name (kind, id);
CREATE TABLE summary (
    digest TEXT PRIMARY KEY REFERENCES result (digest) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    feature_set TEXT NOT NULL,
    second_set TEXT NOT NULL,
    message BLOB NOT NULL
) STRICT;
CREATE INDEX summary_by_set ON summary (feature_set);
CREATE INDEX summary_by_second_set ON summary (second_set);
"""


def _add_triggers(connection: sqlite3.Connection, table: str) -> None:
    for statement in cards_in_sqlite(table, THINGS[table]):
        connection.execute(statement)


def _add_columns(connection: sqlite3.Connection, table: str) -> None:
    for name, places in PLACES.get(table, {}).items():
        value = ", ".join(f"json_extract(message, '$.{place}')" for place in places)
        value = value if len(places) == 1 else f"coalesce({value})"
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} TEXT AS ({value}) VIRTUAL")
        connection.execute(f"CREATE INDEX {table}_by_{name} ON {table} ({name})")


def _cards(connection: sqlite3.Connection) -> None:
    """1 -> 2: cards, names of everything, summaries of results; columns for what lists are filtered by."""
    run_script(connection, CARDS)
    for statement in names_in_sqlite():
        connection.execute(statement)
    for table in OF_VERSION_2:
        _add_triggers(connection, table)
    for table in ("job", "run", "feature_set", "result"):
        key = THINGS[table]
        connection.execute(f"INSERT INTO card (kind, id, created) SELECT '{table}', {key}, created FROM {table}")
    connection.execute(
        "INSERT INTO card (kind, id, created) SELECT 'checkpoint', digest, "
        "coalesce((julianday(json_extract(message, '$.created')) - 2440587.5) * 86400, 0) FROM checkpoint"
    )
    connection.execute("INSERT INTO card (kind, id, created) SELECT 'dataset', name, 0 FROM dataset")
    connection.execute(
        "INSERT INTO name SELECT 'feature_set', name, digest, created FROM feature_name JOIN feature_set USING (digest)"
    )
    connection.execute("DROP TABLE feature_name")
    for table in OF_VERSION_2:
        _add_columns(connection, table)
    for digest, kind in connection.execute("SELECT digest, kind FROM result").fetchall():
        (message,) = connection.execute("SELECT message FROM result WHERE digest = ?", (digest,)).fetchone()
        connection.execute("INSERT INTO summary VALUES (?, ?, ?, ?, ?)", summary_row(digest, kind, message))


TOKENS = """
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    role TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    last_used REAL,
    revoked REAL
) STRICT;
CREATE UNIQUE INDEX token_by_name ON token (name) WHERE revoked IS NULL;
"""
"""2 -> 3: tokens of users; rows of revoked ones stay, for the audit to name them."""
INTEGRITY = """
CREATE TABLE seal (
    of_table TEXT NOT NULL,
    of_row TEXT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (of_table, of_row)
) STRICT, WITHOUT ROWID;
CREATE TABLE asked (
    digest TEXT PRIMARY KEY REFERENCES result (digest) ON DELETE CASCADE,
    time REAL NOT NULL
) STRICT;
CREATE TABLE commit_count (id INTEGER PRIMARY KEY CHECK (id = 1), n INTEGER NOT NULL) STRICT;
INSERT INTO commit_count VALUES (1, 0);
"""


def _digests(connection: sqlite3.Connection) -> None:
    """A digest for every row (given where steps have been taken, see `Database`) and manifest; a count of commits."""
    run_script(connection, INTEGRITY)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if version and path:  # a new registry beside manifests is one that was lost: then nothing may be taken for whole
        add_seals(Path(path).parent)


GROUPINGS = "CREATE TABLE grouping (digest TEXT PRIMARY KEY, created REAL NOT NULL, message TEXT NOT NULL) STRICT"


def _groupings(connection: sqlite3.Connection) -> None:
    """4 -> 5: groupings."""
    run_script(connection, GROUPINGS)
    _add_triggers(connection, "grouping")
    _add_columns(connection, "grouping")


STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    lambda connection: run_script(connection, VERSION_1),
    _cards,
    lambda connection: run_script(connection, TOKENS),
    _digests,
    _groupings,
)
"""The step to version 1, from there to version 2, and so on."""


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Every statement of a script, within the transaction that is open; `executescript` would commit it."""
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)
