"""Diagnostics of features: numbers with a definition, an interval, the value at matched n and a null.

The rows of a set are cut into P parts (groups, classes, or all rows as one). `planner.diagnose` takes ids and computes
all of them together: what several ask for is accumulated once, in at most two passes over the rows. A diagnostic is a
module with a `DIAGNOSTIC`, listed in `registry`; ids are never reused for another formula.
"""
