"""Jobs that bring something in: data sets that are registered, checkpoints that are imported or unpacked."""
