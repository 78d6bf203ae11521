"""The wire of penult: package ``penult.v1`` as ``.proto`` files with the generated code beside them."""

MESSAGE_BYTES = 64 * 2**20
"""That one message has at most, in either direction."""
PROTOCOL = 2
"""Number of the protocol; raised when an old client could misread a new server."""
