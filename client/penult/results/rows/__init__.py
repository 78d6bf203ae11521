"""Answers with one entry per example."""
