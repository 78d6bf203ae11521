"""Eigenvalues of group covariances, and statistics of them.

`spectrum` from moments or rows, `streamed` where rows do not fit in memory; `eigen` and `lanczos` decompose.
`descriptors` are numbers computed from a spectrum; `imbalance` compares two groups, with `inference` by resampling.
"""
