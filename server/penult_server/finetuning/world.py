"""The processes that share the steps of a run, each with a device and an equal part of every batch."""

# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false
# torch.distributed is annotated in part.

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """This process's place among them. Alone by default: then nothing is sent."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process reports and stores; the others only compute."""
        return self.rank == 0

    def wrapped(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module whose backward passes leave every process the mean of all processes' gradients."""
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(
            module,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            # Some text models hold weights that no logit depends on; without this a step would wait for them.
            find_unused_parameters=True,
        )

    def share_statistics(self, module: nn.Module) -> None:
        """Give every process the first one's buffers, which are those that are stored and trained on.

        Batch normalisation moves its running statistics in each process by what that has seen; the next step would
        bring the first one's, but an evaluation does not wait for it.
        """
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def gathered(self, rows: Tensor) -> tuple[Tensor, int]:
        """Rows (n_r, ...) of all processes in the order of their ranks, and where this one's begin among them."""
        if self.size == 1:
            return rows, 0
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        lengths = [int(count) for count in counts]
        longest = max(lengths)
        # Collectives want equal shapes: the shorter ones are filled up, and cut again below.
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        rows_of_all = torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
        return rows_of_all, sum(lengths[: self.rank])


ALONE = World()
