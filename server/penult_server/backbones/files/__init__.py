"""Models of others: their files read without running anything in them, and put into an architecture."""
