"""What the user of a token may do."""

from enum import StrEnum


class Role(StrEnum):
    """Each may what those before it may."""

    READER = "reader"
    """Look, and have what is stored."""
    RUNNER = "runner"
    """Compute, upload, and run jobs within the quotas; cancel and delete what is one's own."""
    ADMIN = "admin"
    """Register data of the server's disk, delete anything, give and revoke tokens."""
