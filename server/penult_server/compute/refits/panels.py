"""Panels of one head on a set: what the kernels are given, and their values with the names of what they are of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.panels.panel import Part, PartKind, Scored
from penult_kernels.panels.registry import PANELS, panel_values
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_server.compute.rows.grouped import Grouped
from penult_server.compute.rows.resident import Labelled
from penult_server.errors import ServiceError
from penult_server.records import LabelNames
from penult_server.stores.manifest import FeatureManifest


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Logits of a head on a set, its labels, and the grouping that stands in for the attribute."""

    logits: object
    """(N, K) on the device, classes in the order of the set."""
    labels: Labelled
    grouped: Grouped | None = None

    @property
    def manifest(self) -> FeatureManifest:
        """The set's, with the labels of the grouping."""
        return self.labels.manifest if self.grouped is None else self.grouped.manifest

    def scored(self, calibration: Scored | None = None) -> Scored:
        """The rows as panels have them."""
        y, g, masks = self.labels.y, self.labels.g, self.labels.masks
        logits = np.asarray(to_host(self.logits), dtype=np.float64)
        if self.grouped is not None:
            g, kept = self.grouped.groups(y), self.grouped.kept
            if kept is not None:
                logits, y, g, masks = logits[kept], y[kept], g[kept], masks[kept]
        return Scored(
            logits=logits,
            y=y.astype(np.int64),
            g=g.astype(np.int64),
            n_groups=self.manifest.labels.n_groups,
            masks=masks.T.astype(np.bool_) if masks.shape[1] else None,
            calibration=calibration,
        )


def add_panels(metrics: groups_pb2.Metrics, names: list[str], asked: Asked, calibration: Asked | None) -> None:
    """Compute panels and add them to metrics. Raises ServiceError (OTHER_CLASSES) where calibration rows are others."""
    held = None
    if calibration is not None:
        _check_labels(asked.manifest, calibration.manifest)
        held = calibration.scored()
    labels = asked.manifest.labels
    panels = {
        name: metrics.panels.add(
            name=name,
            definitions=[
                groups_pb2.PanelDefinition(id=one.id, formula=one.formula, source=one.source, direction=one.direction)
                for one in panel.definitions
            ],
        )
        for name, panel in PANELS.items()
        if name in names
    }
    for name, value in panel_values(asked.scored(held), names):
        panels[name].values.add(
            id=value.id,
            kind=value.part.kind.value,
            part=_name(value.part, labels),
            value=value.value,
            low=value.low,
            high=value.high,
            n=value.n,
            null=value.null,
            null_low=value.null_low,
            null_high=value.null_high,
            p=value.p,
            note=value.note,
        )


def check_disjoint(
    scored: FeatureManifest, held: FeatureManifest, ids: NDArray[np.uint64], held_ids: NDArray[np.uint64]
) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where calibration rows are scored, too: what they cover says nothing."""
    is_same = scored.digest == held.digest
    of_data = bool(scored.dataset_digest and scored.split)
    if of_data and (scored.dataset_digest, scored.split) == (held.dataset_digest, held.split):
        is_same |= bool(np.intersect1d(ids, held_ids).size)
    if is_same:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"calibration= holds rows that are scored, feature sets {held.digest[:12]} and {scored.digest[:12]}: "
            "thresholds must come from other rows, such as those of the validation split",
            field="calibration",
        )


def _check_labels(scored: FeatureManifest, held: FeatureManifest) -> None:
    own, other = scored.labels, held.labels
    if (own.classes, own.attribute_values) != (other.classes, other.attribute_values):
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"calibration= must have the classes and attribute values of what is scored, in their order: feature set "
            f"{held.digest[:12]} has {list(other.classes)} x {list(other.attribute_values)}, {scored.digest[:12]} has "
            f"{list(own.classes)} x {list(own.attribute_values)}",
            field="calibration",
        )


def _name(part: Part, labels: LabelNames) -> str:
    match part.kind:
        case PartKind.ALL:
            return "all"
        case PartKind.CLASS:
            return labels.classes[part.index]
        case PartKind.ATTRIBUTE:
            return labels.attribute_values[part.index]
        case PartKind.MASK:
            return labels.masks[part.index]
        case PartKind.MASK_CLASS:
            mask, y = divmod(part.index, len(labels.classes))
            return f"{labels.masks[mask]}, {labels.classes[y]}"
        case PartKind.GROUP:
            y, a = divmod(part.index, labels.n_attributes)
            return ", ".join([labels.classes[y], *labels.attribute_values[a : a + 1]])
