"""Blocks of a store that are read while the ones before them are in use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The blocks, each read and verified by another thread while the one before is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        waiting = reader.submit(next, blocks, None)
        while (block := waiting.result()) is not None:
            waiting = reader.submit(next, blocks, None)
            yield block
