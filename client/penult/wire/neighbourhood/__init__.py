"""Questions and answers about neighbours on the wire."""
