"""How close to the optimum a fit came, and the warning of one that stopped early."""

from dataclasses import dataclass


class ConvergenceWarning(UserWarning):
    """A solver stopped before its tolerance was met; what it reached is returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How close to the optimum a fit came; in float64, for the problem as it was solved."""

    converged: bool
    gap: float
    """Bound on objective - optimum, nats."""
    gradient_norm: float
    """|grad_W| with the bias minimised exactly."""
    iterations: int
    """Steps of the solver."""
    passes: int
    """Products with the features or their transpose; in the space of rows, with their Gram matrix."""
    objective: float
