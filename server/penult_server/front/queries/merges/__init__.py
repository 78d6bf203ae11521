"""Requests to merge checkpoints: ingredients looked up, checked against each other, defaults filled in."""
