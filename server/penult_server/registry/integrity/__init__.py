"""That the registry is what was written: a digest for each row, a count of commits, and what a start looks at."""
