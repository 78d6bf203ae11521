"""The client's names of choices, ``penult/types.py``, made from the descriptors: part of `penult_proto.generate`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from penult_proto.enums import Enumeration, choices_of
from penult_proto.v1 import datasets_pb2, groups_pb2, jobs_pb2, runs_pb2
from penult_proto.v1 import refits_pb2 as pb

CLIENT = Path(__file__).resolve().parents[2] / "client" / "penult"
LINE = 120

CHOICES: dict[str, "Enumeration[Any] | tuple[str, ...]"] = {
    "BalanceMethod": groups_pb2.BalanceMethod,
    "By": groups_pb2.BalanceBy,
    "FeatureKind": ("pooled", "flat"),
    "GridName": (
        "l1",
        "l2",
        "ratio",
        "gamma",
        "up",
        "class_ratio",
        "detector_l1",
        "tau",
        "alpha",
        "top_k",
        "learning_rate",
    ),
    "GroupSource": pb.GroupSource,
    "HeadChoice": pb.HeadKind,
    "Intercept": pb.Intercept,
    "JobState": jobs_pb2.JobState,
    "Layout": datasets_pb2.DatasetLayout,
    "Link": pb.Link,
    "LossName": runs_pb2.LossName,
    "MissingGroups": groups_pb2.MissingGroups,
    "OffsetChoice": pb.OffsetKind,
    "OptimizerName": runs_pb2.OptimizerName,
    "PathKeep": pb.PathKeep,
    "PathOptimizer": pb.PathOptimizer,
    "PathSchedule": pb.PathSchedule,
    "PenaltyScale": pb.PenaltyScale,
    "PoolingName": runs_pb2.PoolingName,
    "PrecisionName": runs_pb2.Precision,
    "Preset": (
        "erm",
        "class_balanced",
        "dfr",
        "dfr_2022",
        "dfr_2023",
        "dfr_l2",
        "dfr_train",
        "afr",
        "afr_celeba",
        "afr_multinli",
        "self",
        "self_disagreement",
        "rad",
        "rad_celeba",
        "llr",
        "crt",
        "reweight_crt",
        "group_dro",
        "cvar_dro",
        "jtt",
        "eiil",
        "logit_adjusted",
        "la_prior",
    ),
    "Risk": pb.RiskKind,
    "RowsChoice": pb.RowsKind,
    "Scaling": pb.ScalingKind,
    "ScheduleName": runs_pb2.ScheduleName,
    "SelectFinal": pb.SelectFinal,
    "SelectMetric": pb.SelectMetric,
    "StorageType": ("float32", "float16"),
    "Ties": ("first", "last"),
    "WeightsChoice": pb.WeightsKind,
}
"""What the client calls each enumeration; those that the wire carries as text are listed here."""


def types_module() -> str:
    """The text of ``penult/types.py``."""
    lines = ['"""The names that requests may use. Made by ``python -m penult_proto.generate``: edit that."""']
    lines += ["", "from typing import Literal", ""]
    for name, choices in CHOICES.items():
        lines += _literal(name, choices if isinstance(choices, tuple) else choices_of(choices))
    return "\n".join(lines) + "\n"


def _literal(name: str, choices: Iterable[str]) -> list[str]:
    """One definition as ruff formats it: on a line where it fits, else a line inside, else one for each name."""
    quoted = [f'"{choice}"' for choice in choices]
    whole = f"{name} = Literal[{', '.join(quoted)}]"
    if len(whole) <= LINE:
        return [whole]
    inside = "    " + ", ".join(quoted)
    return [f"{name} = Literal[", *([inside] if len(inside) <= LINE else [f"    {one}," for one in quoted]), "]"]


def generate_client(client: Path = CLIENT) -> None:
    """Write the client's generated modules into its package."""
    (client / "types.py").write_text(types_module())


if __name__ == "__main__":
    generate_client()
