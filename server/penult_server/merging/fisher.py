"""The diagonal of a network's Fisher information, exact over classes: C - 1 backward passes a batch."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates its hooks and iterators over modules in part.

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penult_kernels.weight_space.scores import score_factors
from penult_server.backbones.classifier import Classifier, memory_errors
from penult_server.backbones.images.preprocessing import Batch
from penult_server.backbones.inputs import SplitInputs
from penult_server.merging.row_gradients import UnknownSortError, squares_of

BATCH = 32
"""Examples of a pass, which changes rounding alone."""
N_COMPARED = 2
"""Examples of the first batch whose layers are compared with gradients taken one example at a time."""
DIFFERENCE = 1e-3
"""Largest difference to these, of the largest entry of a tensor; above it the tensor is measured one at a time."""


def fisher_diagonal(
    classifier: Classifier,
    inputs: SplitInputs,
    rows: NDArray[np.int64],
    names: Collection[str],
    *,
    device: torch.device,
    beat: Callable[[int], None],
) -> dict[str, NDArray[np.float32]]:
    """E_x sum_c p_c (d log p_c / d theta)^2 of the parameters with these names, in their shapes.

    The expectation is over all classes under the network's own probabilities (not a label, drawn or true), in eval
    mode: statistics of BatchNorm stay, nothing is dropped. Squares are summed in float64. Layers give every example's
    gradient from one pass of a batch; parameters that no layer holds alone, such as position embeddings, take a pass
    for every example. `beat` is called with the examples done before each batch, and may raise.

    Raises ServiceError (OUT_OF_MEMORY).
    """
    classifier.module.eval()
    wanted = {name: one for name, one in _named(classifier.module) if name in names}
    work = _Fisher(classifier, wanted)
    with memory_errors(BATCH):
        for start in range(0, len(rows), BATCH):
            beat(start)
            taken = inputs.take(rows[start : start + BATCH])
            to_batch = partial(classifier.preprocessing.to_batch, device=device)
            if start == 0:
                work.compare(to_batch(taken[:N_COMPARED]), [to_batch([one]) for one in taken[:N_COMPARED]])
            work.add(to_batch(taken), [to_batch([one]) for one in taken] if work.alone else [])
    return {name: (one / len(rows)).float().cpu().numpy() for name, one in work.total.items()}


def _named(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters by every name that they have."""
    return module.named_parameters(remove_duplicate=False)


def _shared(module: nn.Module) -> set[int]:
    """Identities of the parameters that several layers hold, whose gradients add up before they are squared."""
    seen: set[int] = set()
    found: set[int] = set()
    for layer in module.modules():
        own = {id(one) for one in layer.parameters(recurse=False)}
        found |= own & seen
        seen |= own
    return found


class _Fisher:
    """Sums over the examples that have passed."""

    def __init__(self, classifier: Classifier, wanted: Mapping[str, nn.Parameter]) -> None:
        self._classifier, self._wanted = classifier, wanted
        self.total = {name: torch.zeros_like(one, dtype=torch.float64) for name, one in wanted.items()}
        shared = _shared(classifier.module)
        self._by_layer = {name for name, one in wanted.items() if id(one) not in shared}
        self.alone: dict[str, nn.Parameter] = dict(wanted)
        """Parameters that are measured one example at a time."""

    def compare(self, batch: Batch, singles: Sequence[Batch]) -> None:
        """Find out which parameters the layers give."""
        by_layer, by_row = self._by_layers(batch), self._by_rows(singles, self._wanted)
        for name, expected in by_row.items():
            found = by_layer.get(name)
            if found is not None and float((found - expected).abs().max()) <= DIFFERENCE * float(expected.max()):
                del self.alone[name]

    def add(self, batch: Batch, singles: Sequence[Batch]) -> None:
        """Count a batch, and the same examples one by one."""
        for name, found in self._by_layers(batch).items():
            if name not in self.alone:
                self.total[name] += found
        if self.alone:
            for name, found in self._by_rows(singles, self.alone).items():
                self.total[name] += found

    def _by_rows(self, singles: Sequence[Batch], wanted: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        total = {name: torch.zeros_like(one, dtype=torch.float64) for name, one in wanted.items()}
        for batch in singles:
            logits = self._classifier.logits(batch)
            for direction in _directions(logits):
                found: Any = torch.autograd.grad(  # None where a weight has no part in it
                    (logits * direction).sum(), list(wanted.values()), retain_graph=True, allow_unused=True
                )
                for name, one in zip(wanted, found, strict=True):
                    if one is not None:
                        total[name] += one.double().square()
        return total

    def _by_layers(self, batch: Batch) -> dict[str, Tensor]:
        layers = _Layers(self._classifier.module, self._by_layer)
        try:
            if isinstance(batch, Tensor) and batch.is_floating_point():
                batch = batch.requires_grad_()
            with _Frozen(self._classifier.module):
                logits = self._classifier.logits(batch)
                for direction in _directions(logits):
                    (logits * direction).sum().backward(retain_graph=True)
        finally:
            layers.close()
        return layers.squares


class _Layers:
    """Hooks on the layers that hold parameters; what they find is the squares of their gradients, summed."""

    def __init__(self, module: nn.Module, wanted: set[str]) -> None:
        self.squares: dict[str, Tensor] = {}
        self._wanted = wanted
        self._is_pulling = False
        """Whether a layer is run again for its own gradient, whose hooks are to do nothing."""
        self._handles: list[Any] = []
        for path, layer in module.named_modules(remove_duplicate=False):
            own = {f"{path}.{name}" if path else name for name, _ in layer.named_parameters(recurse=False)}
            below = next((one for child in layer.children() for one in child.parameters()), None)
            if own & wanted and below is None:
                self._handles.append(layer.register_forward_hook(partial(self._read, path)))

    def close(self) -> None:
        for one in self._handles:
            one.remove()

    def _read(self, path: str, layer: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        if self._is_pulling or len(inputs) != 1 or not isinstance(output, Tensor) or not output.requires_grad:
            return
        # A layer that is called twice, or whose input is overwritten, differs from its rows and is found by them.
        self._handles.append(output.register_hook(partial(self._pulled, path, layer, inputs[0].detach())))

    def _pulled(self, path: str, layer: nn.Module, read: Tensor, gradient: Tensor) -> None:
        if len(read) != len(gradient):
            return
        self._is_pulling = True
        try:
            found = squares_of(layer, read, gradient.detach())
        except (UnknownSortError, RuntimeError, IndexError):  # of a sort that is not known: measured one at a time
            return
        finally:
            self._is_pulling = False
        for name, one in found.items():
            full = f"{path}.{name}" if path else name
            if full in self._wanted:
                self.squares[full] = self.squares.get(full, 0) + one.double()


class _Frozen:
    """Within it no gradient of weights is computed, but of embeddings, from which the others' way begins."""

    def __init__(self, module: nn.Module) -> None:
        self._kept = [one.weight for one in module.modules() if isinstance(one, nn.Embedding)]
        kept = {id(one) for one in self._kept}
        self._frozen = [one for one in module.parameters() if one.requires_grad and id(one) not in kept]

    def __enter__(self) -> None:
        for one in self._frozen:
            one.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for one in self._frozen:
            one.requires_grad_(True)
        for one in self._kept:
            one.grad = None


def _directions(logits: Tensor) -> list[Tensor]:
    """C - 1 tensors (N, C)."""
    probability = logits.detach().double().softmax(1).cpu().numpy()
    factors = score_factors(probability)
    return [torch.from_numpy(factors[:, r]).to(logits) for r in range(factors.shape[1])]
