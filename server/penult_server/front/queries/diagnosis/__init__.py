"""Requests for diagnostics and panels: completed and checked."""
