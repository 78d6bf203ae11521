"""Nearest neighbours of rows, exactly (float32 products find candidates, float64 decides), and what they say."""
