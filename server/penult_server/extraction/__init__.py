"""One pass of a checkpoint over a split: the features its head reads."""
