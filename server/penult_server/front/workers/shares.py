"""What each of several compute workers has of the machine: a device, and its part of memory and cores."""

from dataclasses import dataclass

from penult_server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One worker of some; a single one has everything."""

    number: int = 0
    of: int = 1

    def device(self, settings: Settings) -> str:
        """Its GPU as in CUDA_VISIBLE_DEVICES; empty where it may see all, or there is none."""
        devices = settings.compute_devices
        return devices[self.number % len(devices)] if devices else ""

    def sharers(self, settings: Settings) -> int:
        """Workers that share the memory of its device, itself included."""
        n_devices = len(settings.compute_devices)
        return len(range(self.number % n_devices, self.of, n_devices)) if n_devices else self.of

    def resident_bytes(self, settings: Settings) -> int:
        """Bytes of features that it may keep in memory."""
        return max(1, settings.resident_bytes // self.of)

    def cores(self, n_cores: int) -> int:
        """Threads over which it splits large products: its part of the cores, as many as each other worker has.

        Never one of several cores: a product that is split has the same bits for any number of threads above one. So
        an answer does not depend on which worker computed it, or on how many there are.
        """
        return max(min(2, n_cores), n_cores // self.of)

    @property
    def log(self) -> str:
        """The name of its log."""
        return f"compute-{self.number}.log" if self.number else "compute.log"

    def __str__(self) -> str:
        return f"compute worker {self.number} of {self.of}" if self.of > 1 else "the compute worker"
