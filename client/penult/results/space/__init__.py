"""Records about the space of a store: what a deletion does, and what takes how much."""
