"""penult's client: finetune, cache penultimate features, ask them about groups.

    import penult

    with penult.local("store") as client:  # or penult.connect("gpu-box:7711")
        run = client.finetune(dataset="footwear", backbone="tf_efficientnet_lite0").wait(progress=True)
        sets = client.extract(run.checkpoints[-1]).wait()
        print(client.spectra(sets["train"], by="group").imbalance)
        print(client.refit(sets["val"], preset="dfr", evaluate={"test": sets["test"]}).metrics["test"])

Names are loaded when they are first used, so that the import itself costs milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penult.client import Client as Client
    from penult.connecting import connect as connect
    from penult.descriptors import Descriptor as Descriptor
    from penult.descriptors import Descriptors as Descriptors
    from penult.descriptors import PrincipalAngles as PrincipalAngles
    from penult.descriptors import VarianceShare as VarianceShare
    from penult.eigenvectors import Eigenvectors as Eigenvectors
    from penult.embedded import local as local
    from penult.errors import Busy as Busy
    from penult.errors import Cancelled as Cancelled
    from penult.errors import Conflict as Conflict
    from penult.errors import DeadlineExceeded as DeadlineExceeded
    from penult.errors import InvalidRequest as InvalidRequest
    from penult.errors import NotFound as NotFound
    from penult.errors import PenultError as PenultError
    from penult.errors import PreconditionFailed as PreconditionFailed
    from penult.errors import ServerBug as ServerBug
    from penult.errors import StoreCorrupt as StoreCorrupt
    from penult.errors import Unauthenticated as Unauthenticated
    from penult.errors import Unavailable as Unavailable
    from penult.errors import VersionMismatch as VersionMismatch
    from penult.finetune_spec import FinetuneSpec as FinetuneSpec
    from penult.jobs import Job as Job
    from penult.notes import Note as Note
    from penult.plots import plot_history as plot_history
    from penult.plots import plot_run_spectra as plot_run_spectra
    from penult.plots import plot_spectra as plot_spectra
    from penult.records import Checkpoint as Checkpoint
    from penult.records import Dataset as Dataset
    from penult.records import Features as Features
    from penult.records import FeatureSet as FeatureSet
    from penult.records import Group as Group
    from penult.records import Info as Info
    from penult.records import Run as Run
    from penult.records import RunManifest as RunManifest
    from penult.records import Split as Split
    from penult.refits import Certificate as Certificate
    from penult.refits import Head as Head
    from penult.refits import Interpolation as Interpolation
    from penult.refits import Refit as Refit
    from penult.refits import Selection as Selection
    from penult.refits import soup as soup
    from penult.results import EpochMetrics as EpochMetrics
    from penult.results import Metrics as Metrics
    from penult.run_spectra import RunSpectra as RunSpectra
    from penult.spectra import Imbalance as Imbalance
    from penult.spectra import Spectra as Spectra

    __version__: str

_HOMES = {
    "Busy": "penult.errors",
    "Cancelled": "penult.errors",
    "Certificate": "penult.refits",
    "Checkpoint": "penult.records",
    "Client": "penult.client",
    "Conflict": "penult.errors",
    "Dataset": "penult.records",
    "DeadlineExceeded": "penult.errors",
    "Descriptor": "penult.descriptors",
    "Descriptors": "penult.descriptors",
    "Eigenvectors": "penult.eigenvectors",
    "EpochMetrics": "penult.results",
    "FeatureSet": "penult.records",
    "Features": "penult.records",
    "FinetuneSpec": "penult.finetune_spec",
    "Group": "penult.records",
    "Head": "penult.refits",
    "Imbalance": "penult.spectra",
    "Info": "penult.records",
    "Interpolation": "penult.refits",
    "InvalidRequest": "penult.errors",
    "Job": "penult.jobs",
    "Metrics": "penult.results",
    "NotFound": "penult.errors",
    "Note": "penult.notes",
    "PenultError": "penult.errors",
    "PreconditionFailed": "penult.errors",
    "PrincipalAngles": "penult.descriptors",
    "Refit": "penult.refits",
    "Run": "penult.records",
    "RunManifest": "penult.records",
    "RunSpectra": "penult.run_spectra",
    "Selection": "penult.refits",
    "ServerBug": "penult.errors",
    "Spectra": "penult.spectra",
    "Split": "penult.records",
    "StoreCorrupt": "penult.errors",
    "Unauthenticated": "penult.errors",
    "Unavailable": "penult.errors",
    "VarianceShare": "penult.descriptors",
    "VersionMismatch": "penult.errors",
    "connect": "penult.connecting",
    "local": "penult.embedded",
    "plot_history": "penult.plots",
    "plot_run_spectra": "penult.plots",
    "plot_spectra": "penult.plots",
    "soup": "penult.refits",
}
"""Which module each public name lives in."""

__all__ = [
    "Busy",
    "Cancelled",
    "Certificate",
    "Checkpoint",
    "Client",
    "Conflict",
    "Dataset",
    "DeadlineExceeded",
    "Descriptor",
    "Descriptors",
    "Eigenvectors",
    "EpochMetrics",
    "FeatureSet",
    "Features",
    "FinetuneSpec",
    "Group",
    "Head",
    "Imbalance",
    "Info",
    "Interpolation",
    "InvalidRequest",
    "Job",
    "Metrics",
    "NotFound",
    "Note",
    "PenultError",
    "PreconditionFailed",
    "PrincipalAngles",
    "Refit",
    "Run",
    "RunManifest",
    "RunSpectra",
    "Selection",
    "ServerBug",
    "Spectra",
    "Split",
    "StoreCorrupt",
    "Unauthenticated",
    "Unavailable",
    "VarianceShare",
    "VersionMismatch",
    "__version__",
    "connect",
    "local",
    "plot_history",
    "plot_run_spectra",
    "plot_spectra",
    "soup",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("penult")
    if name not in _HOMES:
        raise AttributeError(f"module 'penult' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
