"""What the collections of a client have in common: lists by pages, and cards that are changed; and `Results`."""
