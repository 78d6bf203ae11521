"""Requests made complete and checked: presets expanded, names resolved, every range checked, digests taken.

A digest of a complete request is the identity of its answer; identical requests that arrive while one is computed share
its answer.
"""
