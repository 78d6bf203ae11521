"""The part of the client that asks what is read off neighbours."""
