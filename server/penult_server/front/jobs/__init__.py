"""The queue of jobs: which starts next, what it says while it runs, and what becomes of it when its process ends."""
