"""Requests for diagnostics and their answers as messages."""
