"""Integrity of the registry: a digest for each row, a count of commits, and what a start looks at."""
