"""Long work: what a job may tell the service while it runs, and the processes that run it."""
