"""From problems to blocks: what the solvers work on.

A block is one convex problem of q columns over n rows in the space solved; `blocks` prepares them, `scaling` fits
means and standard deviations, `batch` has the products of many blocks over the same rows.
"""
