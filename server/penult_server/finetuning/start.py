"""What a run starts from instead of a backbone's weights: a checkpoint, or a refit on the body of one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Digests; both empty where a run starts from a backbone."""

    checkpoint: str = ""
    """The checkpoint whose body it is."""
    refit: str = ""
    """The refit whose head it is; empty for the checkpoint's own."""

    def __bool__(self) -> bool:
        return bool(self.checkpoint)

    @property
    def identity(self) -> str:
        """What the starting weights are, for the digest and the manifest of a run."""
        return f"refit {self.refit}" if self.refit else f"checkpoint {self.checkpoint}"
