"""Rows in memory: feature sets that stay on the device within a byte budget, and rows on their way there."""
