"""Early-stopped methods: the exact trajectories of gradient descent, SGD and AdamW for many problems at once.

`descend` is the entry, with the records of `settings`; the other modules make up a run.
"""
