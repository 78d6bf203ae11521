"""What is wrong with the nodes of a cluster, from what each has said of itself (`Look.look`). Knows nothing of Ray."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from penult_server.jobs.fleets.fleet import Json
from penult_server.jobs.fleets.on_nodes import different

CLOCK_SECONDS = 60.0
"""How far a node's clock may be from this machine's: signed requests to a bucket allow 15 minutes."""
FREE_BYTES = 2 * 2**30
"""Least free bytes of a node's temporary disk, where Ray and libraries write, and of the root's."""
HEADINGS = (
    "node",
    "cores",
    "GPUs",
    "processor",
    "versions",
    "token",
    "root",
    "store",
    "registry",
    "clock",
    "free",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One node."""

    name: str
    """Host name and address."""
    said: Json = field(default_factory=dict[str, object])
    """What `Look.look` returned; empty where it did not answer."""
    silence: str = ""
    """Why it did not answer."""
    clock: float = 0.0
    """Seconds by which its clock is before this machine's."""
    slack: float = 0.0
    """How far that may be wrong: half of the time that the question took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All that was found."""

    rows: Sequence[Sequence[str]]
    """A row of `HEADINGS` for each node."""
    wrong: Sequence[str]
    """What keeps a node from its work, and what to do."""
    notes: Sequence[str]
    """What does not."""

    def __str__(self) -> str:
        table = [HEADINGS, *self.rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        lines += [f"wrong: {one}" for one in self.wrong] + [f"note: {one}" for one in self.notes]
        return "\n".join(lines if self.wrong else [*lines, f"all {len(self.rows)} nodes can be used"])


def judged(here: Json, nodes: Sequence[Seen]) -> Judgement:
    """Compare nodes with this machine, which has said `here` of itself."""
    wrong: list[str] = []
    notes: list[str] = []
    for one in nodes:
        wrong += [f"{one.name} {text}" for text in _wrong(here, one)]
        if one.said.get("registry"):
            notes.append(
                f"{one.name} does not reach the registry ({one.said['registry']}); only a server there needs it"
            )
    answered = [one.said for one in nodes if one.said]
    for what, found in (
        ("kinds of processors", {str(one["processor"]) for one in answered}),
        ("kinds of GPUs or drivers", {gpu for one in answered for gpu in one["gpus"]}),
    ):
        if len(found) > 1:
            notes.append(
                f"there are {len(found)} {what} ({'; '.join(sorted(found))}): moments made by both are equal to 1e-12, "
                "not to the last bit, and compute workers of one alone are used"
            )
    return Judgement(rows=[_row(here, one) for one in nodes], wrong=wrong, notes=notes)


def _wrong(here: Json, one: Seen) -> list[str]:
    if not one.said:
        return [f"does not answer: {one.silence}"]
    said, found = one.said, list[str]()
    if other := different(here["versions"], said["versions"]):
        found.append(f"has other versions: {other}; install the same")
    if not said["has_token_mode"]:
        found.append("was started without RAY_AUTH_MODE=token; start it again with that, and the token")
    if said["root"]:
        found.append(f"cannot use the root: {said['root']}; mount it there under the same path, for the same user")
    elif said["store"]:  # which the root names
        found.append(f"cannot use the store: {said['store']}; see its network and credentials")
    if abs(one.clock) > CLOCK_SECONDS + one.slack:
        found.append(f"has a clock that is {one.clock:+.0f} s from this machine's; synchronize it (chrony, ntpd)")
    found += [
        f"has {_size(free)} free on the disk of {'the root' if name == 'root' else 'its temporary files'}; make space"
        for name, free in said["free"].items()
        if 0 <= free < FREE_BYTES
    ]
    return found


def _row(here: Json, one: Seen) -> list[str]:
    if not one.said:
        return [one.name, "does not answer", *[""] * (len(HEADINGS) - 2)]
    said = one.said
    return [
        one.name,
        str(said["cores"]),
        str(len(said["gpus"])),
        str(said["processor"]),
        "differ" if different(here["versions"], said["versions"]) else "same",
        "yes" if said["has_token_mode"] else "no",
        *("-" if said[name] is None else "no" if said[name] else "yes" for name in ("root", "store", "registry")),
        f"{one.clock:+.2f} s",
        f"{_size(said['free']['root'])}, {_size(said['free']['tmp'])}",
    ]


def _size(n_bytes: int) -> str:
    return "-" if n_bytes < 0 else f"{n_bytes / 2**30:.1f} GiB"
