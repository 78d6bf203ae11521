"""Convex refits of a linear head, many at once, each with a certificate.

    import math

    import numpy as np

    from penult_kernels.linear.problem import Problem, Standardize
    from penult_kernels.linear.solve import solve
    from penult_kernels.metrics.accuracy import group_metrics
    from penult_kernels.sampling.balancing import BalanceMethod
    from penult_kernels.sampling.plans import balanced_draw

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    a = np.where(rng.random(2000) < 0.9, y, 1 - y)  # a spurious attribute: it agrees with the class in nine rows of ten
    g = 2 * y + a
    X = rng.standard_normal((2000, 64)).astype(np.float32)
    X[:, :2] += np.stack([2 * y, 4 * a], axis=1)
    fitted, held_out = np.arange(1000), np.arange(1000, 2000)

    draw = balanced_draw(g, 4, among=fitted, method=BalanceMethod.SUBSETTING, ratio=1.0, seed=0, repeat=0)
    problems = [Problem(rows=draw.rows, weight=draw.weight, l2=l2, standardize=Standardize.ROWS) for l2 in (0.1, 0.01)]
    for problem, fit in zip(problems, solve(X, y, 2, problems, tolerance=1e-6), strict=True):
        found = fit.certificate  # the optimum lies between objective - gap and objective
        assert found.converged and found.gap <= 1e-6 * math.log(2)
        head_error = math.sqrt(2 * found.gap / problem.l2)  # the optimal weights are no further away
        logits = X[held_out] @ fit.weight.T + fit.bias  # heads act on raw features
        worst = group_metrics(logits, y[held_out], g[held_out], 4).worst_group_accuracy
        print(f"l2 {problem.l2}: objective {found.objective:.4f}, head within {head_error:.0e}, worst {worst:.3f}")

`problem` states the objective; `solve` takes problems to blocks, which `l1` and `l2` solve; `robust` has the risks of
the worst group or tail; `closed_forms` answers from moments alone.
"""
