"""What is on disk: checkpoints, feature sets, results. Written whole or not at all."""
