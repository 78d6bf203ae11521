"""Diagnostics of stored sets: what the kernels are given, and their values as messages."""
