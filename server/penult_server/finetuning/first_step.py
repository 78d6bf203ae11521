"""Where the time until a run's first step is done goes, told in one line of its job's log."""

import logging
import time

import torch

log = logging.getLogger("penult.finetuning")


class UntilFirstStep:
    """Seconds of each stage until the first step is done; then nothing more is measured, nor waited for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_told = False
        self._began = self._last = time.perf_counter()
        self._stages = {"processor time before, of imports above all": time.process_time()}

    def did(self, stage: str) -> None:
        """What was done since the last call. A device is waited for, so that it is charged with its own work."""
        if self._is_told:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._stages[stage] = self._stages.get(stage, 0.0) + now - self._last
        self._last = now

    def tell(self) -> None:
        """The first step is done."""
        if self._is_told:
            return
        self._is_told = True
        stages = {stage: round(seconds, 3) for stage, seconds in self._stages.items()}
        told = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stages.items())
        log.info("first step done after %.2f s: %s", self._last - self._began, told, extra={"seconds": stages})
