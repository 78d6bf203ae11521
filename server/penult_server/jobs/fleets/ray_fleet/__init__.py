"""The fleet of a Ray cluster. Nothing outside of this package imports Ray."""
