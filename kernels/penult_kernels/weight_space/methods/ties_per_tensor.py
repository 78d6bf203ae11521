"""TIES with the density counted in each tensor by itself, as widespread merging tools do it: another method."""

from penult_kernels.weight_space.methods.ties import Ties
from penult_kernels.weight_space.piece import Span


class TiesPerTensor(Ties):
    """As `Ties`, tensor by tensor; at least one entry of each task vector is kept in each."""

    span: Span = "tensor"
