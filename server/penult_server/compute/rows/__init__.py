"""Rows in memory: feature sets that stay on the device within a memory budget, and copies of rows to a device."""
