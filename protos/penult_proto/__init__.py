"""The wire of penult: package ``penult.v1`` as ``.proto`` files with the generated code beside them."""

PROTOCOL = 3
"""Number of the protocol; raised when an old client could misread a new server."""
