"""Soups of heads on resident features: their shares, and which head helps which group."""
