"""Counts, means and centered second moments of groups.

`moments` holds, merges and pools them; `accumulation` makes them in one pass over rows that come in chunks, in bounded
memory; `packing` stores one triangle of a symmetric matrix.
"""
