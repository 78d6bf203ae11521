"""What an examination of a store finds."""

import time
from collections import Counter
from dataclasses import dataclass, field

KIND_OF = {
    "checkpoints": "checkpoint",
    "datasets": "dataset",
    "features": "features",
    "groupings": "grouping",
    "runs": "run",
}
"""What a thing of a folder of the store is called."""
FOLDER_OF = {kind: folder for folder, kind in KIND_OF.items()}


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
    seen: list[str] = field(default_factory=list[str])
    """Things that were looked at, or ought to have been there to be, as "features/DIGEST"."""
    started: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def add(self, kind: str, id: str, what: object) -> None:
        """Note a damage."""
        self.damages.append(Damage(kind, id, str(what)))

    def by_thing(self) -> dict[str, str]:
        """Damages as `LastLook` has them; several of a thing in one text."""
        said: dict[str, list[str]] = {}
        for one in self.damages:
            said.setdefault(f"{FOLDER_OF.get(one.kind, one.kind)}/{one.id}", []).append(one.what)
        return {thing: "; ".join(dict.fromkeys(whats)) for thing, whats in said.items()}

    def __str__(self) -> str:
        counted = ", ".join(f"{number} {kind}" for kind, number in self.checked.items() if number) or "nothing"
        lines = [str(one) for one in self.damages]
        lines += [f"not in the registry: {name}" for name in self.unregistered]
        verdict = f"{len(self.damages)} damaged" if self.damages else "all whole"
        return "\n".join([*lines, f"checked {counted}: {verdict}"])
