"""Penalised softmax cross-entropy of a linear head: value, gradient and Hessian products. No solver here.

Objective, with p_i = softmax(W x_i + b):

    F(W, b) = sum_i s_i (-log p_i[y_i]) / sum_i s_i  +  l2 / 2 * |W|^2

The bias is not penalised, C = 2 is the same softmax with two rows, and the sample weights count only
relative to each other. With s scaled to sum 1 and R = diag(s)(P - Y):

    gradient          G = [R^T X + l2 W, R^T 1]
    Hessian times V   H[V] = [Q^T X + l2 V_W, Q^T 1],  Q = diag(s) P * (U - sum_c P U),  U = X V_W^T + 1 v_b^T

F does not change when one vector is added to all rows of W with l2 = 0, or one number to all of b: every
gradient and every product here sums to zero over the classes when W does.

Legend of suffixes: N rows, C classes, D features, E = D + 1 (the bias is the last column).
"""

from dataclasses import dataclass

from array_api_compat import array_namespace

from penult_kernels.arrays import Array


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxLoss:
    """The objective over one set of rows; a head is one array `theta` (C, D + 1) = [W, b]."""

    features: Array
    """(N, D) float64."""
    is_label: Array
    """(N, C) bool: one-hot labels."""
    share: Array
    """(N,) float64 sample weights, sum 1."""
    l2: float

    def scores(self, theta_CE: Array) -> Array:
        """Logits X W^T + b (N, C): one pass over the rows."""
        return self.features @ theta_CE[:, :-1].T + theta_CE[:, -1]

    def data_value(self, scores_NC: Array) -> float:
        """Weighted mean cross-entropy of given logits: no pass."""
        xp = array_namespace(scores_NC)
        shifted = scores_NC - xp.max(scores_NC, axis=1, keepdims=True)
        of_label = xp.sum(xp.where(self.is_label, shifted, 0.0), axis=1)
        losses = xp.log(xp.sum(xp.exp(shifted), axis=1)) - of_label
        return float(xp.sum(self.share * losses))

    def penalty(self, theta_CE: Array) -> float:
        """l2 / 2 * |W|^2."""
        xp = array_namespace(theta_CE)
        return 0.5 * self.l2 * float(xp.sum(theta_CE[:, :-1] ** 2))

    def probabilities(self, scores_NC: Array) -> Array:
        """Softmax of the rows (N, C)."""
        xp = array_namespace(scores_NC)
        exponentials = xp.exp(scores_NC - xp.max(scores_NC, axis=1, keepdims=True))
        return exponentials / xp.sum(exponentials, axis=1, keepdims=True)

    def residuals(self, probabilities_NC: Array) -> Array:
        """diag(s)(P - Y) (N, C), the gradient with respect to the logits."""
        xp = array_namespace(probabilities_NC)
        return self.share[:, None] * xp.where(self.is_label, probabilities_NC - 1.0, probabilities_NC)

    def gradient(self, theta_CE: Array, probabilities_NC: Array) -> Array:
        """Gradient (C, D + 1): one pass over the rows."""
        return self._adjoint(self.residuals(probabilities_NC), theta_CE)

    def hessian_product(self, probabilities_NC: Array, direction_CE: Array) -> Array:
        """Hessian at the given probabilities times a direction (C, D + 1): two passes over the rows."""
        xp = array_namespace(direction_CE)
        change_NC = probabilities_NC * self.scores(direction_CE)
        change_NC = change_NC - probabilities_NC * xp.sum(change_NC, axis=1, keepdims=True)
        return self._adjoint(self.share[:, None] * change_NC, direction_CE)

    def bias_hessian(self, probabilities_NC: Array) -> Array:
        """Hessian with respect to the bias alone (C, C): diag(P^T s) - P^T diag(s) P. No pass."""
        xp = array_namespace(probabilities_NC)
        weighted_NC = self.share[:, None] * probabilities_NC
        identity_CC = xp.eye(weighted_NC.shape[1], dtype=xp.float64, device=weighted_NC.device)
        return identity_CC * xp.sum(weighted_NC, axis=0) - probabilities_NC.T @ weighted_NC

    def _adjoint(self, weights_NC: Array, theta_CE: Array) -> Array:
        """[A^T X + l2 W, A^T 1] for weights A on the logits."""
        xp = array_namespace(weights_NC)
        of_weight_CD = weights_NC.T @ self.features + self.l2 * theta_CE[:, :-1]
        return xp.concat([of_weight_CD, xp.sum(weights_NC, axis=0)[:, None]], axis=1)
