"""Groupings: values that stand in for the attribute of stored rows, and what is measured of them."""
