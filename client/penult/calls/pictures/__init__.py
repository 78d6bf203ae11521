"""The part of the client that asks for pictures."""
