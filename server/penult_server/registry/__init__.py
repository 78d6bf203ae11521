"""What the service knows: jobs and their events, datasets, runs, checkpoints, feature sets, results.

One SQLite file, written by the front alone. Workers hold no connection: they send messages.
"""
