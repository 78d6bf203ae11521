"""Requests for refits: completed, checked, and told where a part would have no effect."""
