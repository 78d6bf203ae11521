"""Spectra, their descriptors and eigenvectors in the compute worker: from stored moments, or streamed from rows."""
