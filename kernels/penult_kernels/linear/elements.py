"""Functions of the elements of arrays, of several operations each, that take one launch on a GPU.

A launch takes a GPU several microseconds, whatever a small array holds, so that what is launched in a loop decides how
long a small solve takes. Each function stands twice: on arrays of any library, and in `cuda/elements.cu`; a test
compares the two. Arguments are floating arrays of one type, broadcast against each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from array_api_compat import array_namespace, is_cupy_array

from penult_kernels.arrays import Array
from penult_kernels.linear.line_search import is_near_enough, secant_cut

SMALLEST_NEW = 1e-10
"""A part of the gradient outside the span below this fraction of its square is rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Elementwise:
    """A function of elements: on arrays of any library, and by one launch where there is a kernel for them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    on_arrays: Callable[..., tuple[Array, ...]]

    @property
    def name(self) -> str:
        """Its name in `cuda/elements.cu`."""
        return self.on_arrays.__name__.removeprefix("_")

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """The outputs, each of the shape that the arguments have together."""
        by_one_launch = getattr(array_namespace(arrays[0]), "by_one_launch", None)
        if by_one_launch is not None:
            return by_one_launch(self, *arrays)
        if not is_cupy_array(arrays[0]):
            return self.on_arrays(*arrays)
        found: Any = _kernel(array_namespace(arrays[0]), self)(*arrays)
        return found if len(self.outputs) > 1 else (found,)


def source() -> str:
    """CUDA source of all functions."""
    return (resources.files("penult_kernels") / "cuda" / "elements.cu").read_text()


@cache
def _kernel(device: Any, function: Elementwise) -> Any:
    """A kernel of CuPy, which is compiled when it is first used with a type."""
    given, made = (", ".join(f"T {one}" for one in names) for names in (function.inputs, function.outputs))
    call = f"{function.name}<T>({', '.join((*function.inputs, *function.outputs))})"
    return device.ElementwiseKernel(given, made, call, f"penult_{function.name}", preamble=source())


def _binary_derivatives(logits: Array, weight: Array, target: Array) -> tuple[Array, ...]:
    p = _sigmoid(logits)
    return weight * (p - target), weight * p * (1.0 - p)


def _sigmoid(logits: Array) -> Array:
    xp = array_namespace(logits)
    # One exponential of a number that is not positive: nothing overflows.
    small = xp.exp(-xp.abs(logits))
    return xp.where(logits >= 0, 1.0, small) / (1.0 + small)


def _next_length(derivative: Array, there: Array, length: Array) -> tuple[Array, ...]:
    xp = array_namespace(length)
    is_good = is_near_enough(derivative, there)
    shorter = length * secant_cut(derivative, there)
    return xp.where(is_good, length, 0.0), xp.where(is_good, 1.0, shorter)


def _binary_step(logits: Array, change: Array, length: Array, weight: Array, target: Array) -> tuple[Array, ...]:
    moved = logits + length * change
    return moved, *_binary_derivatives(moved, weight, target)


def _trial(product: Array, before: Array, derivative: Array, stiffness: Array, length: Array) -> tuple[Array, ...]:
    there = product + (derivative - before) + length * stiffness
    return (array_namespace(product).where(is_near_enough(derivative, there), length, 0.0),)


def _new_direction(outside: Array, within: Array) -> tuple[Array, ...]:
    xp = array_namespace(outside)
    whole = outside + within
    is_new = outside > SMALLEST_NEW * whole
    norm = xp.where(is_new, xp.sqrt(xp.where(is_new, outside, 1.0)), 0.0)
    return norm, xp.where(is_new, 1.0 / xp.where(is_new, norm, 1.0), 0.0), whole


def _gap(of_weights: Array, of_bias: Array, curvature: Array, l2: Array, stiffness: Array) -> tuple[Array, ...]:
    own = array_namespace(l2).where(stiffness > 0, stiffness, curvature + 1e-12)
    return (0.5 * (of_weights / l2 + of_bias * of_bias / own),)


def _two_products(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    return (a * b + c * d,)


binary_step = Elementwise(
    ("logits", "change", "length", "weight", "target"), ("moved", "residual", "curvature"), _binary_step
)
"""A step of binary problems along a change of their logits: the logits there, s (p - t) and s p (1 - p)."""
trial = Elementwise(("product", "before", "derivative", "stiffness", "length"), ("accepted",), _trial)
"""Lengths of trials that end near enough to the minimum along their directions (`line_search.is_near_enough`), else 0.

`before` and `product` are the derivatives of the loss at the start and there, `derivative` that of the objective at the
start, and `stiffness` the second derivative of the penalty."""
new_direction = Elementwise(("outside", "within"), ("norm", "scale", "whole"), _new_direction)
"""Norms of what gradients have outside of a span, and their inverses, 0 where that is rounding; and whole squares."""
gap = Elementwise(("of_weights", "of_bias", "curvature", "l2", "stiffness"), ("bound",), _gap)
"""|gradient|^2 / (2 l2), from the square of the weights' gradient; a bias by its penalty's curvature, or its own."""
two_products = Elementwise(("a", "b", "c", "d"), ("total",), _two_products)
"""a b + c d."""
binary_derivatives = Elementwise(("logits", "weight", "target"), ("residual", "curvature"), _binary_derivatives)
"""s (p - t) and s p (1 - p) of binary problems."""
next_length = Elementwise(("derivative", "there", "length"), ("taken", "length_after"), _next_length)
"""By the secant rule: the length where a step is near enough, else 0; and that of the next trial, 1 after a step."""
ALL = (binary_step, binary_derivatives, next_length, trial, new_direction, gap, two_products)
"""Every one of them."""
