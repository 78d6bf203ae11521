"""How alike two sets of features of the same rows are."""
