"""Where the parts of a job run: on this machine, or on a cluster."""
