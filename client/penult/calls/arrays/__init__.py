"""Calls that pass features through this machine in pieces: to files, from files, and through heads."""
