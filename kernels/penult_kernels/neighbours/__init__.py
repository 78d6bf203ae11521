"""Nearest neighbours of rows, and what is read off them: arrays in, arrays out."""
