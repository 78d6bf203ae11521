"""What a user sees while something is waited for, and what Ctrl-C does then."""
