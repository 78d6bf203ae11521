"""Merges: arguments to messages, messages to records."""
