"""Checkpoints as directories that other libraries load: received, their head replaced, laid out, described."""
