"""Datasets: examples with a class and attributes, in splits; the packaged one and the user's own."""
