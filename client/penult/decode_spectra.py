"""From the messages about spectra to records."""

from collections.abc import Iterable, Mapping

import numpy as np

from penult.arrays import decode as array
from penult.decode import groups
from penult.descriptors import Descriptor, Descriptors, PrincipalAngles, VarianceShare
from penult.eigenvectors import Eigenvectors
from penult.errors import ServerBug
from penult.records import Group
from penult.run_spectra import RunSpectra
from penult.spectra import Imbalance, Spectra
from penult.transfer import receive_arrays
from penult_proto.enums import name_or
from penult_proto.v1 import spectra_pb2


def spectra(message: spectra_pb2.Spectra) -> Spectra:
    """Spectra, with the groups of an imbalance by their names."""
    decoded = groups(message.groups)
    by_index = {entry.index: entry for entry in decoded}
    return Spectra(
        digest=message.digest,
        feature_set=message.feature_set,
        by=name_or(spectra_pb2.SpectraBy, message.by, "group"),
        groups=decoded,
        eigenvalues=array(message.eigenvalues),
        residuals=array(message.residuals),
        trace=array(message.trace),
        methods=tuple(message.methods),
        converged=np.array(message.converged, dtype=np.bool_),
        imbalance=tuple(imbalance(entry, by_index) for entry in message.imbalance),
        correction=message.correction,
        center=message.center,
        replicates=message.replicates,
        confidence=message.confidence,
        seed=message.seed,
        n_rows=message.n_rows,
        n_examples=message.n_examples,
        rows_of_run=message.rows_of_run,
        reused=message.reused,
    )


def imbalance(message: spectra_pb2.Imbalance, by_index: Mapping[int, Group]) -> Imbalance:
    """One comparison."""
    minority, majority = by_index[message.minority], by_index[message.majority]
    return Imbalance(
        y=message.y,
        class_name=minority.class_name if message.y >= 0 else "",
        minority=minority.name,
        majority=majority.name,
        minority_index=message.minority,
        majority_index=message.majority,
        n_minority=message.n_minority,
        n_majority=message.n_majority,
        ratio=message.ratio,
        matched_ratio=message.matched_ratio,
        low=message.low,
        high=message.high,
        p_value=message.p_value,
        p_adjusted=message.p_adjusted,
        replicate_error=message.replicate_error,
    )


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
    return Descriptors(
        digest=message.digest,
        feature_set=message.feature_set,
        by=name_or(spectra_pb2.SpectraBy, message.by, "group"),
        groups=groups(message.groups),
        descriptors={
            one.id: Descriptor(id=one.id, formula=one.formula, source=one.source, values=array(one.values))
            for one in message.descriptors
        },
        variance_shares={
            one.id: VarianceShare(id=one.id, formula=one.formula, value=one.value) for one in message.variance_shares
        },
        reused=message.reused,
    )


def eigenvectors(messages: Iterable[spectra_pb2.ReadEigenvectorsResponse]) -> Eigenvectors:
    """Eigenvectors, from the messages of one read. Raises `ServerBug` when any is incomplete."""
    stream = iter(messages)
    first = next(stream, None)
    if first is None or first.WhichOneof("kind") != "header":
        raise ServerBug("the server sent no header before the eigenvectors")
    header = first.header
    arrays = receive_arrays(header.arrays, (message.chunk for message in stream))
    return Eigenvectors(
        feature_set=header.feature_set,
        by=name_or(spectra_pb2.SpectraBy, header.request.by, "group"),
        groups=groups(header.groups),
        eigenvalues=arrays["eigenvalues"],
        vectors=arrays["eigenvectors"],
        correction=header.request.correction,
        center=header.request.center,
    )


def principal_angles(message: spectra_pb2.PrincipalAngles) -> PrincipalAngles:
    """Angles between two subspaces."""
    first, second = groups([message.first, message.second])
    return PrincipalAngles(
        digest=message.digest,
        first=first,
        second=second,
        feature_sets=(message.feature_sets[0], message.feature_sets[1]),
        angles=array(message.angles),
        formula=message.formula,
        reused=message.reused,
    )
