"""From the messages about spectra to records."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import numpy as np

from penult.results.descriptors import Descriptor, Descriptors, Eigenvectors, PrincipalAngles, VarianceShare
from penult.results.records import Group
from penult.results.run_spectra import RunSpectra
from penult.results.spectra import Imbalance, Spectra
from penult.results.used_grouping import UsedGrouping
from penult.wire.arrays import decode as array
from penult.wire.decode import card, decode_notes, groups, record, time, used_grouping
from penult.wire.transfer import receive_arrays
from penult_proto.enums import name_or
from penult_proto.v1 import spectra_pb2

AnyGrouped: TypeAlias = spectra_pb2.Spectra | spectra_pb2.Descriptors | spectra_pb2.EigenvectorsHeader


def spectra(message: spectra_pb2.Spectra) -> Spectra:
    """Spectra, with the groups of an imbalance by their names."""
    decoded = groups(message.groups)
    by_index = {entry.index: entry for entry in decoded}
    return record(
        Spectra,
        message,
        by=_by(message.by, message),
        grouping=used_grouping(message),
        groups=decoded,
        eigenvalues=array(message.eigenvalues),
        residuals=array(message.residuals),
        trace=array(message.trace),
        converged=np.array(message.converged, dtype=np.bool_),
        imbalance=tuple(imbalance(entry, by_index) for entry in message.imbalance),
        weights=name_or(spectra_pb2.SpectraWeights, message.weights, "uniform"),
        gamma=message.gamma if message.weights == spectra_pb2.SPECTRA_WEIGHTS_ERRORS else None,
        interval=array(message.interval) if message.HasField("interval") else None,
        notes=decode_notes(message.notes),
        created=time(message.card.created),
        **card(message.card),
    )


def imbalance(message: spectra_pb2.Imbalance, by_index: Mapping[int, Group]) -> Imbalance:
    """One comparison."""
    minority, majority = by_index[message.minority], by_index[message.majority]
    return record(
        Imbalance,
        message,
        class_name=minority.class_name if message.y >= 0 else "",
        minority=minority.name,
        majority=majority.name,
        minority_index=message.minority,
        majority_index=message.majority,
        inference=name_or(spectra_pb2.ImbalanceInference, message.inference, _unnamed(message)),
    )


def _unnamed(message: spectra_pb2.Imbalance) -> Literal["resampled", "none"]:
    """What servers did that do not say how: they knew replicates alone."""
    return "none" if math.isnan(message.matched_ratio) else "resampled"


def run_spectra(message: spectra_pb2.RunSpectra) -> RunSpectra:
    """Spectra of every checkpoint of a run."""
    return RunSpectra(
        run=message.run,
        split=message.split,
        epochs=np.array([entry.epoch for entry in message.epochs], dtype=np.float64),
        checkpoints=tuple(entry.checkpoint for entry in message.epochs),
        spectra=tuple(spectra(entry.spectra) for entry in message.epochs),
    )


def descriptors(message: spectra_pb2.Descriptors) -> Descriptors:
    """Numbers with their definitions."""
    return record(
        Descriptors,
        message,
        by=_by(message.by, message),
        grouping=used_grouping(message),
        groups=groups(message.groups),
        descriptors={one.id: record(Descriptor, one, values=array(one.values)) for one in message.descriptors},
        variance_shares={one.id: record(VarianceShare, one) for one in message.variance_shares},
    )


def eigenvectors(messages: Iterable[spectra_pb2.ReadEigenvectorsResponse]) -> Eigenvectors:
    """Eigenvectors, from the messages of one read. Raises `ServerBug` when any is incomplete."""
    first, arrays = receive_arrays(messages)
    header = first.header
    return Eigenvectors(
        feature_set=header.feature_set,
        by=_by(header.request.by, header),
        grouping=used_grouping(header),
        groups=groups(header.groups),
        eigenvalues=arrays["eigenvalues"],
        vectors=arrays["eigenvectors"],
        correction=header.request.correction,
        center=header.request.center,
    )


def principal_angles(message: spectra_pb2.PrincipalAngles) -> PrincipalAngles:
    """Angles between two subspaces."""
    first, second = groups([message.first, message.second])
    used = [record(UsedGrouping, one) for one in message.groupings if one.digest]
    grouping = used[0] if used else None
    return record(PrincipalAngles, message, first=first, second=second, angles=array(message.angles), grouping=grouping)


def _by(number: "spectra_pb2.SpectraBy.ValueType", message: AnyGrouped) -> str:
    """What the parts of an answer are: what the values of its grouping are called, or groups or classes."""
    grouping = used_grouping(message)
    return name_or(spectra_pb2.SpectraBy, number, "group") if grouping is None else grouping.attribute
