"""The matrix of a refit request: every field of it, every way of solving, and which identity they obey together.

A field has an effect, or is refused where it would have none: `FIELDS` says by which checks of the files
`test_refit_matrix_*.py` each is held to that. A new field of the request has no row here, and fails the test until it
has.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor
from numpy.typing import NDArray

import penult
from penult_proto.v1 import refits_pb2 as pb

Arguments = dict[str, Any]
GD = {"optimizer": "gd", "learning_rate": 0.2, "steps": 12}
SGD = {"optimizer": "sgd", "learning_rate": 0.05, "steps": 30, "batch_size": 16, "momentum": 0.5}
ADAMW = {"optimizer": "adamw", "learning_rate": 0.02, "steps": 12, "weight_decay": 0.01}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of solving, and how far two answers of the same problem may lie apart."""

    arguments: Arguments
    n_classes: int = 2
    shape: tuple[int, int] = (120, 5)
    atol: float = 2e-4
    """Of logits, less their mean over the classes."""
    is_path: bool = False
    draws: bool = False
    """Whether minibatches are drawn, which follow the order of the rows."""


def solved(atol: float = 2e-4, **arguments: Any) -> Arguments:
    return {"tolerance": 1e-9, **arguments}


WAYS: dict[str, Way] = {
    "l2": Way(arguments=solved(l2=0.05)),
    "l2, three classes": Way(arguments=solved(l2=0.05), n_classes=3),
    "l2, fewer rows than features": Way(arguments=solved(l2=0.05), shape=(36, 60), atol=2e-3),
    "l2, three classes, fewer rows than features": Way(
        arguments=solved(l2=0.05), n_classes=3, shape=(36, 60), atol=2e-3
    ),
    "l2, one class against the rest": Way(arguments=solved(l2=0.05, link="ovr"), n_classes=3),
    "l2, penalised intercept": Way(arguments=solved(l2=0.05, intercept="penalized")),
    "l2, no intercept": Way(arguments=solved(l2=0.05, intercept="none")),
    "l1": Way(arguments=solved(l1=0.02)),
    "l1, three classes": Way(arguments=solved(l1=0.02, tolerance=1e-7), n_classes=3, atol=5e-3),
    "l1, one class against the rest": Way(arguments=solved(l1=0.02, link="ovr"), n_classes=3),
    "l1, fewer rows than features": Way(arguments=solved(l1=0.03), shape=(36, 60), atol=2e-3),
    "l1 and l2": Way(arguments=solved(l1=0.01, l2=0.05)),
    "no penalty": Way(arguments=solved(), atol=1e-3),
    "no penalty, three classes": Way(arguments=solved(), n_classes=3, atol=1e-3),
    "gradient descent": Way(arguments={"path": GD}, is_path=True, atol=1e-4),
    "gradient descent with penalties": Way(arguments={"path": GD, "l2": 0.1, "l1": 0.01}, is_path=True, atol=1e-4),
    "gradient descent, three classes": Way(arguments={"path": GD}, n_classes=3, is_path=True, atol=1e-4),
    "minibatches": Way(arguments={"path": SGD}, is_path=True, draws=True, atol=1e-4),
    "adamw": Way(arguments={"path": ADAMW}, is_path=True, atol=8e-3),
    "group DRO": Way(arguments=solved(l2=0.1, risk="group_dro", tolerance=1e-4), atol=0.08),
    "CVaR": Way(arguments=solved(l2=0.02, risk="cvar", alpha=0.8, tolerance=1e-5), atol=0.08),
}
"""All of them; certificates of 1e-9 leave logits apart by what is said."""


_UPLOADED: dict[tuple[object, ...], penult.FeatureSet] = {}


@dataclass(frozen=True, kw_only=True)
class Data:
    """Rows with classes, attributes and a biased head."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    a: NDArray[np.int64]
    head: penult.Head
    n_classes: int
    row_id: NDArray[np.int64] | None = None

    def upload(self, client: penult.Client, **more: Any) -> penult.FeatureSet:
        """Stored on the server, once."""
        names = {
            "classes": [f"class {k}" for k in range(self.n_classes)],
            "attribute": "place",
            "attribute_values": ["in", "out"],
        } | more
        parts = (self.x, self.y, self.a, self.head.weight, self.head.bias, self.row_id)
        key = (id(client), str(names), *(b"" if part is None else np.asarray(part).tobytes() for part in parts))
        if key not in _UPLOADED:
            _UPLOADED[key] = client.features.upload(
                features=self.x, y=self.y, a=self.a, head=self.head, row_id=self.row_id, **names
            )
        return _UPLOADED[key]

    def taken(self, rows: NDArray[np.int64]) -> "Data":
        """Some rows, each under its own id; a row that stands twice gets another."""
        ids = rows if np.unique(rows).size == rows.size else np.arange(rows.size)
        return replace(self, x=self.x[rows], y=self.y[rows], a=self.a[rows], row_id=ids)

    def logits(self, head: penult.Head) -> NDArray[np.float64]:
        """(N, C), less their mean over the classes."""
        found = head.logits(self.x)
        return found - found.mean(axis=1, keepdims=True)


def sample(way: Way, seed: int = 0) -> Data:
    """Every class in both places, neither of them alike, and labels that no head gets all right."""
    (n, d), k = way.shape, way.n_classes
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % k)
    a = (rng.random(n) < 0.25 + 0.4 * (y == 1)).astype(np.int64)
    x = rng.standard_normal((n, d)).astype(np.float32)
    x[:, 0] += y
    x[:, 1] += 1.2 * a
    head = penult.Head(weight=0.3 * rng.standard_normal((k, d)), bias=0.2 * rng.standard_normal(k))
    return Data(x=x, y=y, a=a, head=head, n_classes=k)


@dataclass(frozen=True)
class Row:
    """By what a field is held to its word: names of checks in the files `test_refit_matrix_*.py`."""

    checks: tuple[str, ...] = field(default=())


def row(*checks: str) -> Row:
    return Row(checks)


_HEADS = row("zero_heads", "heads_by_any_name")
_SCALING = row("a_set_of_its_own", "another_set_scales")
_PATH = {
    "optimizer": row("ways_differ"),
    "learning_rate": row("path_fields", "refused"),
    "steps": row("steps_and_epochs"),
    "epochs": row("steps_and_epochs"),
    "momentum": row("path_fields", "refused"),
    "weight_decay": row("path_fields"),
    "clip_norm": row("path_fields"),
    "batch_size": row("steps_and_epochs", "ways_differ"),
    "keep": row("the_best_step"),
    "start.kind": _HEADS,
    "start.refit": _HEADS,
    "start.head.weight": _HEADS,
    "start.head.bias": _HEADS,
    "start.head.classes": row("heads_meet_classes_by_name"),
    "start.head.checkpoint": row("heads_of_another_checkpoint"),
    "schedule": row("path_fields"),
    "normalize": row("path_fields", "refused"),
}
FIELDS: dict[str, Row] = {
    "feature_set": row("rows_are_an_upload", "rows_in_another_order"),
    "preset": row("presets_are_their_settings"),
    "balance.method": row("upweighting_by_hand", "subsets_by_hand", "refused"),
    "balance.by": row("upweighting_by_hand", "refused"),
    "balance.ratio": row("ratio_one_is_subsetting", "refused"),
    "balance.group_ratio": row("group_ratios_by_hand", "refused"),
    "balance.missing_groups": row("missing_groups_are_skipped", "refused"),
    "l1": row("penalties_of_the_sum", "ways_differ"),
    "l2": row("penalties_of_the_sum", "a_doubled_column"),
    "repeats": row("repeats_are_averaged", "refused"),
    "seed": row("seeds"),
    "evaluate": row("what_is_reported_changes_nothing"),
    "tolerance": row("tolerance_bounds_the_gap", "refused"),
    "max_iterations": row("tolerance_bounds_the_gap", "refused"),
    "penalty_scale": row("penalties_of_the_sum", "refused"),
    "center.kind": row("zero_heads", "heads_by_any_name", "a_heavy_penalty_is_the_center", "refused"),
    "center.refit": _HEADS,
    "center.head.weight": _HEADS,
    "center.head.bias": _HEADS,
    "center.head.classes": row("heads_meet_classes_by_name"),
    "center.head.checkpoint": row("heads_of_another_checkpoint"),
    "intercept": row("a_penalised_intercept_is_a_column", "no_intercept_is_the_center_s", "refused"),
    "link": row("two_classes_one_against_the_other", "machines_beside_linear_svc"),
    "scaling.kind": _SCALING,
    "scaling.feature_set": _SCALING,
    "weights.kind": row("weights_by_hand", "refused"),
    "weights.gamma": row("weights_by_hand", "refused"),
    "weights.up": row("weights_by_hand", "refused"),
    "weights.class_ratio": row("weights_by_hand", "refused"),
    "weights.explicit": row("weights_are_repeats", "weights_have_no_scale", "no_weight_is_no_row"),
    **{f"weights.detector.{name}": row("a_detector_by_hand", "refused") for name in _PATH},
    "weights.detector_l1": row("a_detector_by_hand", "refused"),
    "rows.kind": row("rows_are_an_upload", "top_rows_by_hand", "refused"),
    "rows.top_k": row("top_rows_by_hand", "refused"),
    "rows.other": row("top_rows_by_hand", "refused"),
    "rows.row_ids": row("rows_are_an_upload"),
    "offset.kind": row("no_offset_is_none", "offsets_by_hand"),
    "offset.tau": row("no_offset_is_none", "refused"),
    "groups": row("groups_by_hand", "refused"),
    "grouping": row("a_grouping_is_its_attribute"),
    "risk.kind": row("a_whole_tail_is_the_mean", "one_group_is_the_mean", "refused"),
    "risk.alpha": row("a_whole_tail_is_the_mean", "refused"),
    **{f"path.{name}": one for name, one in _PATH.items()},
    "grid.name": row("one_candidate_is_the_plain_refit", "refused"),
    "grid.values": row("one_candidate_is_the_plain_refit"),
    "select.half": row("the_winner_is_its_own_refit", "an_impossible_candidate_fails_alone"),
    "select.feature_set": row("one_candidate_is_the_plain_refit", "the_winner_is_its_own_refit"),
    "select.metric": row("the_winner_is_its_own_refit"),
    "select.last_of_equals": row("ties"),
    "select.final": row("the_winner_is_its_own_refit"),
    "select.repeats": row("repeats_are_averaged", "refused"),
    "select.grouping": row("a_grouping_is_its_attribute"),
    "select.scaling.kind": row("the_winner_is_its_own_refit"),
    "select.scaling.feature_set": row("another_set_scales"),
    "across_checkpoints": row("heads_of_another_checkpoint"),
    "train": row("training_counts_weigh_the_average"),
    "subspace": row("a_subspace_by_hand", "a_subspace_is_refused"),
    "plan": row("what_is_reported_changes_nothing", "subsets_by_hand"),
}
"""By the path of the field in the request."""


def paths_of(descriptor: Descriptor = pb.RefitRequest.DESCRIPTOR, prefix: str = "") -> Iterator[str]:
    """Every field of a message and of those in it, but for what arrays and names of sets are made of."""
    for one in descriptor.fields:
        nested = one.message_type
        is_leaf = nested is None or nested.name == "Array" or nested.GetOptions().map_entry
        yield from [f"{prefix}{one.name}"] if is_leaf else paths_of(nested, f"{prefix}{one.name}.")
