"""Task vectors of which entries are dropped at random, the rest rescaled (Yu et al. 2024, arXiv 2311.03099)."""

import hashlib

import numpy as np
from array_api_compat import array_namespace

from penult_kernels.arrays import Array, asarray_like
from penult_kernels.weight_space.piece import Asked, OnePass, Piece


class Dare(OnePass):
    """theta = theta_0 + scale mean_i (m_i tau_i / density), m_i = 1 with probability `density`, else 0.

    Unbiased: the mean over seeds is that of all entries. The draws are seeded by the tensor's name, the network and the
    seed, and run along the tensor, however it is cut.
    """

    def __init__(self, asked: Asked) -> None:
        self._ids, self._seed = asked.ids, asked.seed
        self._density, self._scale = asked.numbers["density"], asked.numbers["scale"]
        self._streams: dict[str, list[np.random.Generator]] = {}

    def merge(self, piece: Piece) -> Array:
        if piece.start == 0:
            self._streams = {piece.name: [_stream(self._seed, piece.name, one) for one in self._ids]}
        total: Array = None
        for index, stream in enumerate(self._streams[piece.name]):
            delta = piece.delta(index)
            xp = array_namespace(delta)
            draws = np.less(stream.random(int(delta.shape[0])), self._density)
            drawn = asarray_like(draws, delta)
            kept = xp.where(drawn, delta, xp.zeros_like(delta))
            total = kept if total is None else total + kept
        return piece.moved(total * (self._scale / self._density / len(self._ids)))


def _stream(seed: int, tensor: str, network: str) -> np.random.Generator:
    named = hashlib.sha256(f"{tensor}\n{network}".encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(named, dtype=np.uint32).tolist()])
