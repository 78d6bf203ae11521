"""When a run measures and when it stores: epochs and fractions of them as optimiser steps."""

from dataclasses import dataclass

from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.keep import BEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps of a run. Step s is the state after s optimiser steps; 0 is the starting point."""

    epochs: int
    steps_per_epoch: int
    evaluate_every: float
    """Epochs."""
    checkpoint_every: float
    """Epochs."""
    early_steps: frozenset[int]
    stores_measured_only: bool = False
    """Whether checkpoints are left only where the splits are evaluated."""

    @property
    def n_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> float:
        """Epochs trained after so many steps."""
        return step / self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch is complete after so many steps."""
        return step % self.steps_per_epoch == 0

    def is_measured(self, step: int) -> bool:
        """Whether the splits are evaluated after this step (at least 1)."""
        return self._is_chosen(step, self.evaluate_every)

    def is_stored(self, step: int) -> bool:
        """Whether a checkpoint is left after this step."""
        is_planned = self._is_chosen(step, self.checkpoint_every)
        return step == 0 or (is_planned and (self.is_measured(step) or not self.stores_measured_only))

    def stage(self, step: int) -> str:
        """What is being done in the step that ends at `step`, for people."""
        return f"epoch {-(-step // self.steps_per_epoch)} of {self.epochs}"

    def _is_chosen(self, step: int, every: float) -> bool:
        """Whether `step` is the nearest to a multiple of `every` epochs, the last, or one of the early ones."""
        stride = max(1.0, every * self.steps_per_epoch)
        nearest = round(step / stride)
        is_multiple = nearest > 0 and round(nearest * stride) == step
        return is_multiple or step == self.n_steps or step in self.early_steps


def make_plan(config: FinetuneConfig, steps_per_epoch: int) -> Plan:
    """The plan of a run whose epochs have `steps_per_epoch` steps."""
    return Plan(
        epochs=config.epochs,
        steps_per_epoch=steps_per_epoch,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.checkpoint_every,
        early_steps=frozenset(config.early_steps),
        stores_measured_only=config.keep == BEST,
    )
