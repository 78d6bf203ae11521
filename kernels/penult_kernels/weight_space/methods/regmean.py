"""Linear layers merged so that their outputs change least on what each has read (Jin et al. 2023, arXiv 2212.09849)."""

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.weight_space.piece import Asked, Piece, Span, in_float64, weighted_sum

RIDGE = 1e-6
"""Fraction of the mean diagonal that is added to it, so that a layer of few rows has a solution: the plain mean in the
directions that no row has."""


class SingularError(ValueError):
    """A layer's inputs span too few directions."""


class RegMean:
    """W = (sum_i G_i)^-1 sum_i G_i W_i for each linear layer, W (D, out), G_i = X_i^T X_i of its inputs (D, D).

    Off the diagonal G_i counts `alpha` times. The mean minimises sum_i |X_i W - X_i W_i|^2 for alpha 1 (section 3.1).
    Computed as the plain mean and what is to be added to it, so that equal networks stay as they are to the last bit.
    Tensors without G_i, and layers that read zeros alone, take the plain mean.

    `end` raises SingularError for a layer whose sum of G_i has no inverse in float64.
    """

    n_passes = 1
    span: Span = "tensor"

    def __init__(self, asked: Asked) -> None:
        if asked.grams is None:
            raise ValueError("the rule 'regmean' needs the Gram matrices of the layers' inputs, and got none")
        self._grams, self._n_parents = asked.grams, len(asked.ids)
        self._alpha = asked.numbers["alpha"]
        self._n_solved, self._n_plain = 0, 0
        self.begin()

    def begin(self) -> None:
        self._name = ""
        self._right: list[Array] = []
        self._waiting: list[Array] = []
        self._step: Array = None

    def gather(self, piece: Piece, number: int) -> None:
        self._name = piece.name
        if self._gram(0) is None:
            return
        mean = weighted_sum(piece, ())
        if not self._waiting:
            self._waiting = [mean[:0]] * self._n_parents
        xp = array_namespace(mean)
        total: Array = None
        for index, values in enumerate(piece.parents):
            gram = self._gram(index)
            step = xp.concat([self._waiting[index], in_float64(values) - mean])
            width = int(gram.shape[0])
            n_rows = int(step.shape[0]) // width
            self._waiting[index] = step[n_rows * width :]
            rows = xp.matmul(xp.reshape(step[: n_rows * width], (n_rows, width)), asarray_like(gram, step))
            total = rows if total is None else total + rows
        self._right.append(total)

    def end(self, number: int) -> None:
        if not self._right:
            self._n_plain += 1
            return
        xp = array_namespace(self._right[0])
        right = xp.concat(self._right)
        total: Array = None
        for index in range(self._n_parents):
            gram = asarray_like(self._gram(index), right)
            total = gram if total is None else total + gram
        if float(xp.linalg.trace(total)) <= 0:
            self._n_plain += 1
            return
        try:
            step = xp.linalg.solve(total, xp.matrix_transpose(right))
        except np.linalg.LinAlgError as error:
            raise _singular(self._name) from error
        if not bool(xp.all(xp.isfinite(step))):
            raise _singular(self._name)
        self._step = xp.reshape(xp.matrix_transpose(step), (-1,))
        self._n_solved += 1

    def merge(self, piece: Piece) -> Array:
        mean = weighted_sum(piece, ())
        if self._step is None:
            return mean
        return mean + self._step[piece.start : piece.start + int(mean.shape[0])]

    def factors(self) -> dict[str, float]:
        return {"tensors_solved": float(self._n_solved), "tensors_averaged": float(self._n_plain)}

    def _gram(self, index: int) -> Array:
        """(D, D) float64, off the diagonal times alpha, and the ridge; None for a tensor without."""
        gram = self._grams(self._name, index)
        if gram is None:
            return None
        xp = array_namespace(gram)
        gram = in_float64(gram)
        width = int(gram.shape[0])
        unit = xp.eye(width, dtype=gram.dtype, device=gram.device)
        ridge = RIDGE * float(xp.linalg.trace(gram)) / width
        return gram * self._alpha + unit * (gram * (1 - self._alpha) + ridge)


def _singular(name: str) -> SingularError:
    return SingularError(f"the inputs of {name!r} span too few directions to merge it; measure more rows")
