"""Accuracies by group, class and mask with their intervals, scores of probabilities, and scores of many heads.

`accuracy` for one set of logits, `scores` for calibration and ranking, `head_scores` for many heads at once.
"""
