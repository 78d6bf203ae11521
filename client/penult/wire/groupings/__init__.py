"""Groupings to and from the wire."""
