"""What a feature space is organised by: the share of neighbours with a row's class, attributes and group."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.neighbours import rates as kernels
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.neighbours.answers.labelled import (
    Integers,
    Labelled,
    bare,
    classes_as,
    labelled,
    match_labels,
    neighbours_of,
    of_neighbours,
)
from penult_server.compute.neighbours.sides import Resources
from penult_server.notes import notes_to_proto
from penult_server.records import Attribute

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Rate:
    """A column of labels: for each row the fraction of its neighbours with its value, and what chance would give."""

    found: Floats
    chance: Floats


def compute_neighbour_rates(request: pb.ComputeNeighbourRatesRequest, resources: Resources) -> pb.NeighbourRates:
    """Shares by group and over all rows. Every field of the request is set by now.

    Raises ServiceError: OTHER_CLASSES, and what the search raises.
    """
    asked = labelled(resources.root, request.source)
    is_own = not request.HasField("among")
    pool = asked if is_own else labelled(resources.root, request.among)
    match = match_labels(pool, asked)
    query = pb.NeighbourQuery(
        source=bare(request.source), k=request.k, metric=request.metric, across_checkpoints=request.across_checkpoints
    )
    if not is_own:
        query.among.CopyFrom(bare(request.among))
    graph = neighbours_of(query, asked, pool, resources)
    position = graph.position

    def rate(own: Integers, of_pool: Integers) -> _Rate:
        share = kernels.shared(own, of_neighbours(of_pool, position))
        return _Rate(share, kernels.shared_by_chance(own, of_pool, is_own_pool=is_own))

    y_of_pool = classes_as(pool, match)
    columns = _attributes_of_both(asked, pool)
    rates = [rate(asked.y, y_of_pool), *(rate(*column) for column in columns.values())]
    rates.append(rate(asked.g, _groups_of_pool(asked, y_of_pool, columns)))
    groups = [_message(one, group) for one, group in zip(_by_group(rates, asked), asked.groups(), strict=True)]
    return pb.NeighbourRates(
        feature_set=request.source.feature_set,
        among=pool.manifest.digest,
        k=request.k,
        attributes=list(columns),
        groups=groups,
        overall=_message(_over_all(rates), groups_pb2.Group(index=-1, y=-1, a=-1, count=asked.n_rows)),
        hubness=kernels.hubness(position, pool.n_rows),
        notes=notes_to_proto([*match.notes, *graph.notes, *asked.notes]),
        grouping=asked.used_grouping,
    )


def _attributes_of_both(asked: Labelled, pool: Labelled) -> dict[str, tuple[Integers, Integers]]:
    """The columns that both sets have, by name: values (N,) of the rows, and (M,) of the pool with the same numbers."""
    of_pool = pool.attributes()
    return {
        name: (values, _renumbered(*of_pool[name], attribute.values))
        for name, (attribute, values) in asked.attributes().items()
        if name in of_pool
    }


def _renumbered(attribute: Attribute, values: Integers, names: tuple[str, ...]) -> Integers:
    """Values by the place of their names in `names`; those that are not among these have a number of their own."""
    if attribute.values == names:
        return values
    place = {name: index for index, name in enumerate(names)}
    numbers = np.asarray([place.get(name, len(names)) for name in attribute.values], dtype=np.int64)
    return np.where(values >= 0, numbers[values], -1)


def _groups_of_pool(asked: Labelled, y: Integers, columns: dict[str, tuple[Integers, Integers]]) -> Integers:
    """(M,) groups of the pool as the set that is asked about numbers them; -1 where it has no such attribute."""
    labels = asked.manifest.labels
    if not labels.attribute_values:
        return y
    if labels.attribute not in columns:
        return np.full_like(y, -1)
    a = columns[labels.attribute][1]
    is_known = a < labels.n_attributes
    return np.where(a < 0, -1, np.where(is_known, y * labels.n_attributes + a, labels.n_groups))


def _by_group(rates: list[_Rate], asked: Labelled) -> list[list[tuple[float, float]]]:
    """For each group, mean share and chance of every column."""
    means = [
        (
            kernels.group_means(one.found, asked.g, asked.n_groups),
            kernels.group_means(one.chance, asked.g, asked.n_groups),
        )
        for one in rates
    ]
    return [[(float(share[g]), float(chance[g])) for share, chance in means] for g in range(asked.n_groups)]


def _over_all(rates: list[_Rate]) -> list[tuple[float, float]]:
    return [(_mean(one.found), _mean(one.chance)) for one in rates]


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _message(rates: list[tuple[float, float]], group: groups_pb2.Group) -> pb.NeighbourRate:
    of_class, *of_attributes, of_group = rates
    return pb.NeighbourRate(
        group=group,
        same_class=of_class[0],
        same_attribute=[share for share, _ in of_attributes],
        same_group=of_group[0],
        expected_class=of_class[1],
        expected_attribute=[chance for _, chance in of_attributes],
        expected_group=of_group[1],
    )
