"""The tables of the registry, the same for SQLite and PostgreSQL.

Messages are kept as JSON of the public protocol, so that they can be read with any client; columns exist for what is
searched. `created` and other times are seconds since 1970.
"""

from collections.abc import Sequence

from sqlalchemy import (
    INTEGER,
    REAL,
    TEXT,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Double,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.types import TypeEngine

from penult_server.registry.sql.expressions import value_at

metadata = MetaData()
# Of one order everywhere: that of the characters' numbers.
TEXTS: TypeEngine[str] = Text().with_variant(TEXT(collation="C"), "postgresql")
# SQLite's strict tables know few types by name.
TIME: TypeEngine[float] = Double[float]().with_variant(REAL(), "sqlite")
WHOLE: TypeEngine[int] = BigInteger().with_variant(INTEGER(), "sqlite")
PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    "job": {
        "dataset": (
            "spec.finetune.dataset",
            "spec.extract.dataset",
            "spec.importCheckpoint.dataset",
            "spec.registerDataset.name",
        )
    },
    "checkpoint": {"dataset": ("dataset",), "backbone": ("backbone",), "run": ("runId",), "model": ("model",)},
    "run": {"dataset": ("spec.dataset",), "backbone": ("spec.backbone",)},
    "feature_set": {"dataset": ("dataset",), "split": ("split",), "checkpoint": ("checkpoint",)},
    "grouping": {"feature_set": ("featureSet",), "dataset": ("dataset",), "method": ("method",)},
}
"""Columns that lists are filtered by: where in a row's message they are found, the first place that has one."""
THINGS = {
    "job": "id",
    "dataset": "name",
    "checkpoint": "digest",
    "run": "id",
    "feature_set": "digest",
    "result": "digest",
    "grouping": "digest",
}
"""Tables of things that have a card, with the column that identifies a thing; a card's kind is the table."""


def _text(name: str, *more: ForeignKey, unique: bool = False, may_be_null: bool = False) -> Column[str]:
    return Column(name, TEXTS, *more, nullable=may_be_null, unique=unique)


def _key(name: str, *more: ForeignKey) -> Column[str]:
    return Column(name, TEXTS, *more, primary_key=True)


def _time(name: str, *, may_be_null: bool = False) -> Column[float]:
    return Column(name, TIME, nullable=may_be_null)


def _empty(name: str, default: str = "") -> Column[str]:
    return Column(name, TEXTS, nullable=False, server_default=default)


def _table(name: str, *columns: Column[str] | Column[float] | Column[int] | Column[bytes]) -> Table:
    """A table with what is read off its messages, and the order in which its rows came."""
    found: Sequence[Column[str]] = [
        Column(column, TEXTS, Computed(func.coalesce(*fields) if len(fields) > 1 else fields[0], persisted=True))
        for column, places in PLACES.get(name, {}).items()
        if (fields := [value_at(Column("message", TEXTS), place) for place in places])
    ]
    # SQLite has such a column in every table by itself.
    order = Column[int]("rowid", BigInteger, Identity(always=True), nullable=False)
    table = Table(name, metadata, *columns, *found, order, sqlite_strict=True)
    for column in found:
        Index(f"{name}_by_{column.name}", column)
    return table


job = _table(
    "job",
    _key("id"),
    _text("spec_digest"),
    _text("request_id", unique=True, may_be_null=True),
    _text("state"),
    _time("created"),
    Column("deaths", WHOLE, nullable=False, server_default=text("0")),
    _text("message"),
    # Of the attempt: every word of its worker must name the number, or changes nothing.
    Column("token", WHOLE, nullable=False, server_default=text("0")),
    _text("lease_owner", may_be_null=True),
    _time("lease_expires", may_be_null=True),
)
Index("job_by_spec", job.c.spec_digest, job.c.created)
Index("job_by_state", job.c.state, job.c.created)
job_event = Table(
    "job_event",
    metadata,
    _key("job", ForeignKey("job.id")),
    Column("seq", WHOLE, primary_key=True, autoincrement=False),
    _text("kind"),
    _text("message"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
dataset = _table("dataset", _key("name"), _text("digest"), _text("message"))
checkpoint = _table("checkpoint", _key("digest"), _text("message"))
run = _table("run", _key("id"), _time("created"), _text("message"))
feature_set = _table("feature_set", _key("digest"), _time("created"), _text("message"))
result = _table(
    "result", _key("digest"), _text("kind"), _time("created"), Column("message", LargeBinary, nullable=False)
)
card = _table(
    "card",
    _key("kind"),
    _key("id"),
    _empty("name"),
    _empty("tags", "[]"),
    _empty("note"),
    _empty("user"),
    _time("created"),
)
Index("card_by_time", card.c.kind, card.c.created)
name = _table("name", _key("kind"), _key("name"), _text("id"), _time("given"))
Index("name_by_id", name.c.kind, name.c.id)
# A summary has a table of its own: columns behind a large answer could only be read through it.
summary = _table(
    "summary",
    _key("digest", ForeignKey("result.digest", ondelete="CASCADE")),
    _text("kind"),
    _text("feature_set"),
    _text("second_set"),
    Column("message", LargeBinary, nullable=False),
)
Index("summary_by_set", summary.c.feature_set)
Index("summary_by_second_set", summary.c.second_set)
# Rows of revoked tokens stay, for the audit to name them.
token = _table(
    "token",
    _key("id"),
    _text("name"),
    _text("sha256", unique=True),
    _text("user"),
    _text("role"),
    _time("created"),
    _time("expires", may_be_null=True),
    _time("last_used", may_be_null=True),
    _time("revoked", may_be_null=True),
)
VALID_TOKENS = token.c.revoked.is_(None)
token_by_name = Index("token_by_name", token.c.name, unique=True, sqlite_where=VALID_TOKENS)
asked = _table("asked", _key("digest", ForeignKey("result.digest", ondelete="CASCADE")), _time("time"))
grouping = _table("grouping", _key("digest"), _time("created"), _text("message"))
version = Table("alembic_version", metadata, Column("version_num", String(32), primary_key=True))

of_file = MetaData()
"""Tables that a file needs beside these, to know whether it is whole; PostgreSQL looks after its own."""
seal = Table(
    "seal",
    of_file,
    _key("of_table"),
    _key("of_row"),
    _text("sealed"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
commit_count = Table(
    "commit_count",
    of_file,
    Column("id", INTEGER, CheckConstraint("id = 1"), primary_key=True),
    Column("n", INTEGER, nullable=False),
    sqlite_strict=True,
)
TABLES: dict[str, Table] = dict(metadata.tables)
"""Tables by their names."""
