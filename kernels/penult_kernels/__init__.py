"""Arrays in, arrays out: moments, spectra, losses, solvers, metrics, selection. No input or output."""
