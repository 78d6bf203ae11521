"""What is done on a Ray cluster that is no job: compute workers, and a look at every node."""
