"""Computed once for all diagnostics that ask for it: draws of rows, sums in one pass, samples of rows."""
