"""Refits and scores of heads in the compute worker.

A request becomes problems (`problems`, `rows`), runs as a generator of rounds (`procedure`, `candidates`), and rounds
of many requests are solved together (`queue`, `work`). `evaluation` scores heads.
"""
