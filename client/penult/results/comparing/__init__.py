"""Several systems (checkpoints, heads) on the same rows: where they differ, what they rank, how even they are."""
