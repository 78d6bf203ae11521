"""The verbs of diagnostics."""
