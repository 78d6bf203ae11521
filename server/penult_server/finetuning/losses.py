"""Losses of examples, and their weights w in robust objectives, whose gradients are those of sum_i w_i loss_i."""

# pyright: reportUnknownMemberType=false
# torch annotates some operations in part.

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from penult_server.finetuning.objective import Objective


def example_losses(logits: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
    """(N,) cross-entropy of every example in float32, nats; targets (1 - e) onehot(y) + e / C."""
    return functional.cross_entropy(logits.float(), y, reduction="none", label_smoothing=label_smoothing)


class Robust(Protocol):
    """An objective that weights the examples of a batch by their losses."""

    @property
    def state(self) -> dict[str, Tensor]:
        """Tensors carried from step to step, by name; changed in place."""
        ...

    def weights(self, losses: Tensor, g: Tensor, sample_weight: Tensor) -> Tensor:
        """(N,) weights of the examples of a batch, from their losses and groups. Moves the state on.

        `sample_weight`: (N,) float64, greater than 0, summing to 1: the weights of the balancing.
        """
        ...


class GroupDRO:
    """Online group distributionally robust optimisation (Sagawa et al. 2020, algorithm 1), over all groups of a batch.

        q_g <- q_g exp(rate (l_g + C / sqrt(n_g))),  then scaled to sum 1;   objective  sum_g q_g l_g

    l_g is the mean loss of the batch's examples of group g, weighted by `sample_weight`, 0 where it has none (as the
    authors' code takes it), n_g the group's training examples. A group without any has no q.
    """

    def __init__(self, counts: NDArray[np.int64], *, rate: float, adjustment: float, device: torch.device) -> None:
        self._rate = rate
        n = torch.from_numpy(counts.astype(np.float64)).to(device)
        self._exists = n > 0
        self._adjustment = torch.where(self._exists, adjustment / n.clamp(min=1).sqrt(), 0.0)
        self._q = self._exists.double() / self._exists.sum()

    @property
    def state(self) -> dict[str, Tensor]:
        return {"q": self._q}

    def weights(self, losses: Tensor, g: Tensor, sample_weight: Tensor) -> Tensor:
        # Sums over one-hot columns, not scattered additions, whose order on a GPU is not fixed.
        member = functional.one_hot(g, len(self._q)).double() * sample_weight[:, None]
        # (N, G) weights of the examples in their group's mean.
        within = member / member.sum(dim=0).where(member.any(dim=0), 1.0)
        moved = self._q * torch.exp(self._rate * (losses.double() @ within + self._adjustment))
        self._q.copy_(moved / moved.sum())
        return within @ self._q


class CVaRDRO:
    """Conditional value at risk: the mean loss of the worst `fraction` of a batch (Levy et al. 2020, equation 4).

        max_w sum_i w_i l_i   over   0 <= w_i <= s_i / fraction,  sum_i w_i = 1

    The largest losses take their bounds until the sum is 1. With a fraction of 1 it is the mean weighted by s =
    `sample_weight`.
    """

    def __init__(self, fraction: float) -> None:
        self._fraction = fraction

    @property
    def state(self) -> dict[str, Tensor]:
        return {}

    def weights(self, losses: Tensor, g: Tensor, sample_weight: Tensor) -> Tensor:
        order = torch.argsort(losses, descending=True, stable=True)
        bounds = sample_weight[order]
        # For each loss, what larger losses have left of the fraction.
        left = self._fraction - (bounds.cumsum(dim=0) - bounds)
        taken = torch.minimum(bounds, left.clamp(min=0.0)) / self._fraction
        return torch.zeros_like(taken).scatter(0, order, taken)


def robust_objective(objective: Objective, counts: NDArray[np.int64], device: torch.device) -> Robust | None:
    """The robust objective of a run, None for the mean. `counts`: (G,) training examples."""
    match objective.loss:
        case "mean":
            return None
        case "group_dro":
            return GroupDRO(
                counts, rate=objective.group_dro_rate, adjustment=objective.group_dro_adjustment, device=device
            )
        case "cvar_dro":
            return CVaRDRO(objective.cvar_fraction)
