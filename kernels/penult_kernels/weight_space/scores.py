"""Directions in logit space whose squares add up to the Fisher information of a softmax."""

from array_api_compat import array_namespace

from penult_kernels.arrays import Array


def score_factors(probability: Array) -> Array:
    """(N, C - 1, C) rows u_r with sum_r u_r u_r^T = diag(p) - p p^T, the covariance of a drawn class.

    So E_c (d log p_c / d theta)^2 = sum_r (d (u_r . logits) / d theta)^2 with u held fixed: C - 1 gradients instead of
    C. It is the Cholesky factor in closed form (Tanabe and Sagae 1992): with q_r = sum_{j >= r} p_j, u_r has 0 before
    place r, sqrt(p_r q_{r+1} / q_r) there and -p_j sqrt(p_r / (q_r q_{r+1})) after it.

    Parameters
    ----------
    probability : (N, C) float64, rows with the sum 1, C at least 2.

    Raises
    ------
    ValueError : for fewer than two classes.
    """
    xp = array_namespace(probability)
    n_classes = int(probability.shape[1])
    if n_classes < 2:
        raise ValueError(f"a softmax has at least two classes, got {n_classes}")
    rows: list[Array] = []
    for r in range(n_classes - 1):
        own, after = probability[:, r : r + 1], probability[:, r + 1 :]
        rest = xp.sum(after, axis=1, keepdims=True)
        total = own + rest
        # Where nothing is left from class r on, its row is 0.
        safe_total = xp.where(total > 0, total, xp.ones_like(total))
        share = xp.sqrt(own * rest / safe_total)
        others = after / xp.where(rest > 0, rest, xp.ones_like(rest))
        rows.append(xp.concat([xp.zeros_like(probability[:, :r]), share, -others * share], axis=1))
    return xp.stack(rows, axis=1)
