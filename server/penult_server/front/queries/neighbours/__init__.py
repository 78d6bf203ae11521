"""Questions about neighbours: completed and checked."""
