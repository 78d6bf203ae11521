"""The processes that the front starts: the compute worker, workers of jobs, and one in waiting."""
