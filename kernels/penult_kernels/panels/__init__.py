"""Panels: what is read off the logits of a head on one set, by class, attribute value, group and mask.

Each panel is a module with a `PANEL`, listed in `registry`. What is not defined is NaN with a note, and no panel needs
features. Everything is computed on the host, in float64.
"""
