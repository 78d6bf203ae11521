"""Leases: who runs a job, until when, and the number of the attempt, which every word of its worker must name."""

from alembic import op
from sqlalchemy import INTEGER, REAL, BigInteger, Column, Double, Text, cast, column, func, table, text
from sqlalchemy.dialects.postgresql import TEXT

from penult_server.registry.sql.expressions import value_at

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Give jobs the columns; the number of attempts stood in the message alone."""
    whole = BigInteger().with_variant(INTEGER(), "sqlite")
    op.add_column("job", Column("token", whole, nullable=False, server_default=text("0")))
    op.add_column("job", Column("lease_owner", Text().with_variant(TEXT(collation="C"), "postgresql")))
    op.add_column("job", Column("lease_expires", Double[float]().with_variant(REAL(), "sqlite")))
    job = table("job", column("message"), column("token"))
    op.execute(job.update().values(token=func.coalesce(cast(value_at(job.c.message, "attempt"), whole), 0)))
