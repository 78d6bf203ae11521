"""Margins of a head, and how near it is to the head of the largest margin."""
