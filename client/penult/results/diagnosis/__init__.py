"""What diagnostics are, and the values they had."""
