"""Early-stopped methods: the exact trajectories of gradient descent, SGD and AdamW for many problems at once.

`descend` is the entry, `settings` its records; the other modules are the parts of a run.
"""
