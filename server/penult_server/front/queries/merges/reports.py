"""Requests to compare networks: checked and completed like the merges that they might become."""

from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, merges_pb2
from penult_server.errors import ServiceError
from penult_server.front.queries.feature_sources import refittable
from penult_server.front.queries.merges.numbers import invalid
from penult_server.front.queries.merges.request import FindDataset, complete_merge
from penult_server.front.registry_thread import Registry

METHOD = "model_stock"
"""The method whose networks have a common start, and no numbers."""


async def complete_report(
    spec: merges_pb2.MergeReportSpec, registry: Registry, root: Path, find_dataset: FindDataset
) -> None:
    """In place. Raises ServiceError: those of `complete_merge`; UNKNOWN_FEATURE_SET; INVALID_ARGUMENT for sets that are
    not of the networks, of different rows, or without logits."""
    networks = spec.networks
    networks.method = networks.method or METHOD
    if networks.method != METHOD:
        raise invalid("method", "left out, for a report merges nothing", networks.method)
    await complete_merge(networks, registry, root, find_dataset, is_made=False)
    sets = [await registry.run(registry.catalog.bare_feature_set, name) for name in spec.feature_sets]
    if sets:
        spec.feature_sets[:] = _in_order(sets, [one.checkpoint for one in networks.parents])


def _in_order(sets: list[features_pb2.FeatureSet], parents: list[str]) -> list[str]:
    """Digests of the networks' sets in the order of the networks, then the further one."""
    found: dict[str, str] = {}
    for one in sets:
        _check(refittable(one), sets[0])
        if one.checkpoint in found:
            raise invalid("features", "one set of each network", f"two of checkpoint {one.checkpoint[:12]}")
        found[one.checkpoint] = one.digest
    missing = [one for one in parents if one not in found]
    further = [one for one in found if one not in parents]
    if missing:
        raise invalid(
            "features", "a set of every network", f"none of {', '.join(one[:12] for one in missing[:5])}: extract it"
        )
    if len(further) > 1:
        listed = ", ".join(one[:12] for one in further[:5])
        raise invalid("features", "sets of the networks, and at most one of a network made of them", listed)
    return [found[one] for one in [*parents, *further]]


def _check(one: features_pb2.FeatureSet, first: features_pb2.FeatureSet) -> None:
    if not one.checkpoint:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"feature set {one.digest[:12]} was uploaded, and no stored network made it; name sets of the networks",
            field="features",
        )
    if not one.has_logits:
        raise invalid("features", "sets with logits", f"feature set {one.digest[:12]} without")
    rows = (first.dataset_digest, first.split, first.n_examples)
    if (one.dataset_digest, one.split, one.n_examples) != rows:
        raise invalid(
            "features",
            f"sets of the same rows, {first.split!r} of {first.dataset!r}",
            f"{one.split!r} of {one.dataset!r}, {one.n_examples} rows",
        )
    if list(one.labels.classes) != list(first.labels.classes) or one.labels.attribute != first.labels.attribute:
        raise invalid("features", "sets whose classes and groups are the same", one.labels.attribute or "none")
