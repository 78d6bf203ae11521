"""Networks merged from stored ones: which tensors, from file to file; running statistics; what is stored."""
