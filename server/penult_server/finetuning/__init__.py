"""Finetuning of all weights, with the group accuracies of every epoch."""
