"""Cross-entropy and its derivatives in the logits, for many problems at once: no features, no penalty.

Logits Z (n, B, q) of B problems over the same n rows, targets T of that shape. q = 1 is the binary problem with
p = sigmoid(z), t the probability of the one; q > 1 is the softmax, t a distribution:

    loss       log(1 + e^z) - t z                  log sum_c e^z_c - sum_c t_c z_c
    gradient   p - t                               p - t
    Hessian u  p (1 - p) u                         p (u - sum_c p_c u_c)
    entropy    H(p) = -sum over all outcomes of p log p

Shapes: n rows, B problems, q columns of each.
"""

from array_api_compat import array_namespace

from penult_kernels.arrays import Array


def losses(logits: Array, targets: Array) -> Array:
    """Cross-entropy of every row (n, B), nats."""
    xp = array_namespace(logits)
    if logits.shape[2] == 1:
        z = logits[:, :, 0]
        return xp.maximum(z, xp.zeros_like(z)) + xp.log(1.0 + xp.exp(-xp.abs(z))) - targets[:, :, 0] * z
    shifted = logits - xp.max(logits, axis=2, keepdims=True)
    return xp.log(xp.sum(xp.exp(shifted), axis=2)) - xp.sum(targets * shifted, axis=2)


def log_softmax(logits: Array) -> Array:
    """log p over the last axis."""
    xp = array_namespace(logits)
    # Shifting by the largest logit keeps every exponent at or below zero.
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def probabilities(logits: Array) -> Array:
    """p (n, B, q)."""
    xp = array_namespace(logits)
    if logits.shape[2] == 1:
        # One exponential of a number that is not positive: nothing overflows.
        small = xp.exp(-xp.abs(logits))
        return xp.where(logits >= 0, 1.0, small) / (1.0 + small)
    exponentials = xp.exp(logits - xp.max(logits, axis=2, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=2, keepdims=True)


def hessian_vector_product(p: Array, change: Array) -> Array:
    """The Hessian of the loss in the logits times a change of the logits (n, B, q)."""
    xp = array_namespace(p)
    if p.shape[2] == 1:
        return p * (1.0 - p) * change
    scaled = p * change
    return scaled - p * xp.sum(scaled, axis=2, keepdims=True)


def entropies(p: Array) -> Array:
    """H(p) of every row (n, B), nats; 0 log 0 = 0."""
    xp = array_namespace(p)
    terms = _x_log_x(p)
    if p.shape[2] == 1:
        return -(terms[:, :, 0] + _x_log_x(1.0 - p)[:, :, 0])
    return -xp.sum(terms, axis=2)


def _x_log_x(p: Array) -> Array:
    xp = array_namespace(p)
    return p * xp.log(xp.where(p > 0, p, 1.0))


def bias_hessians(p: Array, sample_weight: Array) -> Array:
    """Hessians (B, q, q) of sum_i s_i loss_i in a bias added to the logits, for sample weights s (n, B)."""
    xp = array_namespace(p)
    n_columns = p.shape[2]
    if n_columns == 1:
        return xp.sum(sample_weight * (p * (1.0 - p))[:, :, 0], axis=0)[:, None, None]
    weighted = xp.permute_dims(sample_weight[:, :, None] * p, (1, 0, 2))
    identity = xp.eye(n_columns, dtype=p.dtype, device=p.device)
    diagonal = xp.sum(weighted, axis=1)[:, :, None] * identity
    return diagonal - xp.matmul(xp.permute_dims(weighted, (0, 2, 1)), xp.permute_dims(p, (1, 0, 2)))
