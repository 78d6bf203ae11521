"""How many calls the front passes to the compute worker at once, each kind beside the others: the worker has as many
threads."""

QUERIES_AT_ONCE = 160
"""Queries; refits among them wait there for the batch that takes them."""
QUERIES_OF_A_USER = 64
UPLOADS_AT_ONCE = 32
READS_AT_ONCE = 64
