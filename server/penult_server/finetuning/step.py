"""One optimiser step: forward and backward passes over the parts of a batch, then the step itself."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates `backward`, `compile` and its gradient scaler in part.

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from penult_server.backbones.classifier import Classifier
from penult_server.backbones.forward import run_module
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.examples import Part, TrainingBatch
from penult_server.finetuning.first_step import UntilFirstStep
from penult_server.finetuning.losses import Robust, example_losses, robust_objective
from penult_server.finetuning.optimizer import build_optimizer
from penult_server.finetuning.randomness import seed_model
from penult_server.finetuning.state import Trained
from penult_server.finetuning.world import ALONE, World

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Stepper:
    """Takes the steps of a run."""

    def __init__(
        self,
        classifier: Classifier,
        config: FinetuneConfig,
        *,
        group_counts: NDArray[np.int64],
        device: torch.device,
        world: World = ALONE,
        until_first: UntilFirstStep | None = None,
    ) -> None:
        """`group_counts`: (G,) training examples of each group."""
        self._until_first = until_first or UntilFirstStep(device)
        self._classifier = classifier
        self._config = config
        self._device = device
        self._world = world
        precision = config.precision
        if precision == "auto":
            precision = "bf16" if device.type == "cuda" else "fp32"
        self._autocast = _AUTOCAST.get(precision)
        self._robust = robust_objective(config.objective, group_counts, device)
        self._shared = world.wrapped(classifier.module, device)
        # The module itself stays as it is: evaluation hooks its head and changes batch sizes.
        self._module = cast(nn.Module, torch.compile(self._shared)) if config.compile else self._shared
        self.optimizer = build_optimizer(classifier.module, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    @property
    def trained(self) -> Trained:
        """What the training state is made of."""
        return Trained(
            module=self._classifier.module,
            optimizer=self.optimizer,
            objective=self._robust.state if self._robust else {},
            scaler=self.scaler,
        )

    def step(self, batch: TrainingBatch, step: int) -> Tensor:
        """Take step `step` (from 0). This process's share of the objective before it, detached."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch, step)
        if self._config.objective.sam:
            with self._at_worst_neighbour(self._config.objective.sam):
                self.optimizer.zero_grad(set_to_none=True)
                with frozen_statistics(self._classifier.module):
                    self._backward(batch, step)
        if self._config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._classifier.module.parameters(), self._config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._until_first.did("optimizer")
        return loss

    def _backward(self, batch: TrainingBatch, step: int) -> Tensor:
        """Add up the gradients of all parts. The same random numbers whenever it is called for a step."""
        total = torch.zeros((), device=self._device)
        for index, part in enumerate(batch.parts):
            seed_model(self._device, self._config.seed, step, self._world.rank, index)
            partner = batch.partners[index] if batch.partners else None
            with self._exchange(now=index == len(batch.parts) - 1):
                loss = self._loss(part, partner, batch.mix)
                self._until_first.did("forward")
                # Processes average their gradients; the weights sum to 1 over all of them.
                self.scaler.scale(loss * self._world.size).backward()
                self._until_first.did("backward")
            total += loss.detach()
        return total

    def _exchange(self, *, now: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged between processes once a step, in the backward pass of its last part."""
        if isinstance(self._shared, DistributedDataParallel) and not now:
            return self._shared.no_sync()
        return nullcontext()

    def _loss(self, part: Part, partner: Part | None, mix: float) -> Tensor:
        inputs = self._classifier.preprocessing.to_batch(part.items, self._device)
        self._until_first.did("inputs to the device")
        if partner is not None:
            other = self._classifier.preprocessing.to_batch(partner.items, self._device)
            # Images alone are mixed (checked when the run starts), so both are tensors.
            inputs = torch.lerp(cast(Tensor, other), cast(Tensor, inputs), mix)
        with torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None):
            logits = run_module(self._module, self._classifier.library, inputs)
        losses = example_losses(logits, self._sent(part.y), self._config.objective.label_smoothing)
        if self._robust is not None:
            return self._robust_loss(self._robust, losses, self._sent(part.g), self._sent(part.weights))
        loss = (self._sent(part.weights) * losses).sum()
        if partner is None:
            return loss
        losses = example_losses(logits, self._sent(partner.y), self._config.objective.label_smoothing)
        return mix * loss + (1 - mix) * (self._sent(partner.weights) * losses).sum()

    def _robust_loss(self, robust: Robust, losses: Tensor, g: Tensor, weights: Tensor) -> Tensor:
        """Weighed among the losses of all processes. An example of weight 0 only keeps its process in step."""
        counted = weights > 0
        mine = losses[counted]
        everyone, first = self._world.gathered(mine.detach())
        shares = self._world.gathered(weights[counted].double())[0]
        groups = self._world.gathered(g[counted])[0]
        of_all = robust.weights(everyone, groups, shares / shares.sum())
        return (of_all[first : first + len(mine)].float() * mine).sum() + 0.0 * losses.sum()

    def _sent(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    @contextmanager
    def _at_worst_neighbour(self, radius: float) -> Generator[None]:
        """Move the weights by radius * gradient / |gradient| (Foret et al. 2021, equation 2), and exactly back."""
        moved = [one for one in self._classifier.module.parameters() if one.grad is not None]
        gradients = [cast(Tensor, one.grad) for one in moved]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        before = [one.detach().clone() for one in moved]
        with torch.no_grad():
            for one, gradient in zip(moved, gradients, strict=True):
                one.add_(gradient * (radius / norm.clamp(min=1e-12)))
        try:
            yield
        finally:
            with torch.no_grad():
                for one, old in zip(moved, before, strict=True):
                    one.copy_(old)


@contextmanager
def frozen_statistics(module: nn.Module) -> Generator[None]:
    """Batch normalisation normalises by the batch as in training, but its running statistics stay as they are."""
    layers = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._NormBase)]  # pyright: ignore[reportPrivateUsage]
    before = [layer.momentum for layer in layers]
    counts = [layer.num_batches_tracked.clone() for layer in layers if layer.num_batches_tracked is not None]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
        tracked = [layer.num_batches_tracked for layer in layers if layer.num_batches_tracked is not None]
        for current, count in zip(tracked, counts, strict=True):
            current.copy_(count)
