"""Eigenvalues of group covariances, and what is read off them.

`spectrum` from moments or rows, `streamed` where rows do not fit in memory; `eigen` and `lanczos` decompose.
`descriptors` are numbers read off a spectrum; `imbalance` compares two groups, with `inference` by resampling.
"""
