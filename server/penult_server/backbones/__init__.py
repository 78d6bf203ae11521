"""Backbones: finding, loading and checking them; what they read and what their heads read."""
