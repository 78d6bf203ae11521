"""The threads of the compute worker, in a test's process: other products, and so other last bits, than by default."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from penult_kernels.products import spread_over
from penult_server.compute_environment import usable_cores


@contextmanager
def as_the_worker_computes() -> Iterator[None]:
    """One BLAS thread, and a thread of `products` for each core."""
    with threadpool_limits(1):
        spread_over(usable_cores())
        try:
            yield
        finally:
            spread_over(0)
