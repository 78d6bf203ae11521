"""The registry as the fifth version of SQLite's files had it. Files come here by their own steps."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing is older."""
