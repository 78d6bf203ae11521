"""Merging stored networks, and what comes next in the same call."""
