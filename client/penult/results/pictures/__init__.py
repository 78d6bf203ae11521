"""What is looked at: rows as points of a map, and examples as pictures and texts."""
