"""Backbones: finding, loading and proving them; what they read and what their heads read."""
