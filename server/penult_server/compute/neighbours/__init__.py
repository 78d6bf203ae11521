"""Nearest neighbours of stored rows, and what is read off them."""
