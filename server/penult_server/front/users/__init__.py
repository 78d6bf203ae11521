"""Who calls, what they may, and what is written down of it."""
