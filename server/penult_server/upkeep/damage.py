"""What an examination of a store finds."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not what was written."""

    kind: str
    """ "registry", "checkpoint", "dataset", "features", "grouping" or "run"."""
    id: str
    what: str
    """What is wrong, for people."""

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.what}"


@dataclass(slots=True)
class Verification:
    """All that was looked at."""

    damages: list[Damage] = field(default_factory=list[Damage])
    checked: Counter[str] = field(default_factory=Counter[str])
    """Things and rows that were compared with their digests, by their kind."""
    unregistered: list[str] = field(default_factory=list[str])
    """Things on the disk that the registry does not know: no damage, `penult store gc` removes them."""

    def add(self, kind: str, id: str, what: object) -> None:
        """Note a damage."""
        self.damages.append(Damage(kind, id, str(what)))

    def __str__(self) -> str:
        counted = ", ".join(f"{number} {kind}" for kind, number in self.checked.items() if number) or "nothing"
        lines = [str(one) for one in self.damages]
        lines += [f"not in the registry: {name}" for name in self.unregistered]
        verdict = f"{len(self.damages)} damaged" if self.damages else "all whole"
        return "\n".join([*lines, f"checked {counted}: {verdict}"])
