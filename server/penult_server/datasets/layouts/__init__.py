"""What the files of a dataset hold: the four benchmarks as their owners distribute them, and tables of any other."""
