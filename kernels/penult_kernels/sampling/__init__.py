"""Which rows count, how often, and how much.

`balancing` by class or group, `plans` of draws, halves and top rows, `weights` and offsets from a head's logits. NumPy
alone: a seed must choose the same rows on every machine.
"""
