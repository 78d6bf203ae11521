"""Minibatches of row positions; trajectories with the same draws use one stream."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penult_kernels.finite import are_weights
from penult_kernels.trajectories.settings import TrajectorySettings


def stream_key(settings: TrajectorySettings) -> tuple[object, ...]:
    """A key that is equal for trajectories over the same rows with the same minibatches."""
    if settings.batch_size is None:
        return ()
    return (settings.seed, None if settings.sampler is None else np.asarray(settings.sampler, np.float64).tobytes())


class Streams:
    """S streams of minibatches of one size over the same n rows."""

    def __init__(self, settings: Sequence[TrajectorySettings], n_rows: int) -> None:
        self._streams = [_Stream(one, n_rows) for one in settings]

    def next(self) -> NDArray[np.int64]:
        """(S, m) positions; the last minibatch of an epoch may be smaller."""
        return np.stack([stream.next() for stream in self._streams])

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Go on with some of the streams."""
        self._streams = [self._streams[int(place)] for place in kept]


class _Stream:
    """Shuffled epochs, or draws with replacement by the sampler."""

    def __init__(self, settings: TrajectorySettings, n_rows: int) -> None:
        self._rng = np.random.default_rng(settings.seed)
        self._n_rows = n_rows
        self._size = settings.batch_size or n_rows
        self._left = np.zeros(0, np.int64)
        self._chances = None
        if settings.sampler is not None:
            sampler = np.asarray(settings.sampler, np.float64)
            if sampler.shape != (n_rows,) or not are_weights(sampler):
                raise ValueError(f"sampler must hold {n_rows} finite weights of at least 0, one per row used")
            self._chances = sampler / sampler.sum()

    def next(self) -> NDArray[np.int64]:
        if self._chances is not None:
            return self._rng.choice(self._n_rows, size=self._size, p=self._chances)
        if self._left.size == 0:
            self._left = self._rng.permutation(self._n_rows)
        batch, self._left = self._left[: self._size], self._left[self._size :]
        return batch
