"""Figures of results, by matplotlib's objects alone: no pyplot, no state left behind.

A module for each kind of figure; what they have in common is in `panels`. They are loaded when a figure is asked
for, since each imports matplotlib.
"""
