"""Loading modules: quicker without collections of garbage, of which they leave none."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Generator[None]:
    """Load modules in the block. What is there at its end is left alone by collections, for as long as it lives.

    Loading makes some hundred thousand objects that stay; every collection meanwhile looks at all of them again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
