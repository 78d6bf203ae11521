"""Finetune a model, cache its penultimate features, and ask them about groups.

penult.local(root)        a `Client` of the store in a directory of this machine; starts a server when none runs:

    client = penult.local("store")

penult.connect(address)   a `Client` of a server that runs already, here or elsewhere:

    client = penult.connect("gpu-box:7711", tls=True, token="...")

penult.Client             what can be asked; help(penult.Client.refit) and the like state every convention:

    run = client.finetune(dataset="footwear", backbone="tf_efficientnet_lite0").wait(progress=True)
    sets = client.extract(run.checkpoints[-1]).wait()
    print(client.spectra(sets["train"], by="group").imbalance)
    print(client.refit(sets["val"], preset="dfr", evaluate={"test": sets["test"]}).metrics["test"])

client.refit(preset=...)     published methods by name: client.presets(); DFR, AFR, SELF, RAD and others
client.finetune(recipe=...)  published training set-ups by name: client.recipes()
client.merge(method=...)     one network of several: soups, WiSE-FT, task vectors; client.merge_methods()
client.features.upload       your own features, from any framework; no model is needed
client.discover(method=...)  groups that nobody labelled, by client.grouping_methods(); by= takes them everywhere
client.neighbours(...)       nearest rows; read off them: duplicates, leaks, wrong labels; client.gallery shows them

Answers are records (`Run`, `FeatureSet`, `Spectra`, `Refit`, `Metrics`, ...) that print themselves; many have
.to_frame() and .plot(). Whatever fails raises a `PenultError`, of a class that says what to do: help(penult.errors).
"""

# Names are loaded when they are first used, so that the import itself costs milliseconds.

import gc
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penult import datasets as datasets
    from penult.calls.job import Job as Job
    from penult.client import Client as Client
    from penult.connecting import connect as connect
    from penult.connecting import local as local
    from penult.errors import Busy as Busy
    from penult.errors import Cancelled as Cancelled
    from penult.errors import Conflict as Conflict
    from penult.errors import DeadlineExceeded as DeadlineExceeded
    from penult.errors import InvalidRequest as InvalidRequest
    from penult.errors import NotAllowed as NotAllowed
    from penult.errors import NotFound as NotFound
    from penult.errors import PenultError as PenultError
    from penult.errors import PreconditionFailed as PreconditionFailed
    from penult.errors import ServerBug as ServerBug
    from penult.errors import StillRunning as StillRunning
    from penult.errors import StoreCorrupt as StoreCorrupt
    from penult.errors import Unauthenticated as Unauthenticated
    from penult.errors import Unavailable as Unavailable
    from penult.errors import VersionMismatch as VersionMismatch
    from penult.options import SGD as SGD
    from penult.options import AdamW as AdamW
    from penult.options import Augment as Augment
    from penult.options import Compute as Compute
    from penult.options import CrossEntropy as CrossEntropy
    from penult.options import CVaRDRO as CVaRDRO
    from penult.options import GroupDRO as GroupDRO
    from penult.options import Images as Images
    from penult.options import Record as Record
    from penult.options import RepeatErrors as RepeatErrors
    from penult.options import Schedule as Schedule
    from penult.options import Texts as Texts
    from penult.plots import plot_history as plot_history
    from penult.plots import plot_run_spectra as plot_run_spectra
    from penult.plots import plot_spectra as plot_spectra
    from penult.results.comparing.comparison import Comparison as Comparison
    from penult.results.comparing.gap import GapExplained as GapExplained
    from penult.results.comparing.gap import GapStep as GapStep
    from penult.results.comparing.values import ComparedValue as ComparedValue
    from penult.results.descriptors import Descriptor as Descriptor
    from penult.results.descriptors import Descriptors as Descriptors
    from penult.results.descriptors import Eigenvectors as Eigenvectors
    from penult.results.descriptors import PrincipalAngles as PrincipalAngles
    from penult.results.descriptors import VarianceShare as VarianceShare
    from penult.results.diagnosis.definitions import DiagnosticDefinition as DiagnosticDefinition
    from penult.results.diagnosis.diagnosis import Diagnosis as Diagnosis
    from penult.results.diagnosis.diagnosis import DiagnosticValue as DiagnosticValue
    from penult.results.diagnosis.epochs import RunDiagnosis as RunDiagnosis
    from penult.results.diagnosis.influence import Counterfactual as Counterfactual
    from penult.results.diagnosis.influence import Influence as Influence
    from penult.results.diagnosis.panels import Panel as Panel
    from penult.results.diagnosis.panels import PanelDefinition as PanelDefinition
    from penult.results.diagnosis.panels import PanelValue as PanelValue
    from penult.results.finetune_spec import FinetuneSpec as FinetuneSpec
    from penult.results.groupings.consensus import Consensus as Consensus
    from penult.results.groupings.discovery_table import DiscoveryRow as DiscoveryRow
    from penult.results.groupings.discovery_table import DiscoveryTable as DiscoveryTable
    from penult.results.groupings.grouping import Grouping as Grouping
    from penult.results.groupings.grouping import GroupingArrays as GroupingArrays
    from penult.results.groupings.scores import GroupingScore as GroupingScore
    from penult.results.groupings.scores import GroupingScores as GroupingScores
    from penult.results.groupings.scores import GroupingStability as GroupingStability
    from penult.results.heads import Head as Head
    from penult.results.lists.listing import Listing as Listing
    from penult.results.lists.run_table import RunTable as RunTable
    from penult.results.lists.stored import ResultSummary as ResultSummary
    from penult.results.merge_origin import MergeOrigin as MergeOrigin
    from penult.results.merge_origin import MergeStep as MergeStep
    from penult.results.merging.curve import MergeBarrier as MergeBarrier
    from penult.results.merging.curve import MergeCurve as MergeCurve
    from penult.results.merging.head_soup import HeadSoup as HeadSoup
    from penult.results.merging.head_soup import HeadStep as HeadStep
    from penult.results.merging.merge import Lineage as Lineage
    from penult.results.merging.merge import Merge as Merge
    from penult.results.metrics import EpochMetrics as EpochMetrics
    from penult.results.metrics import Metrics as Metrics
    from penult.results.neighbourhood.duplicates import Duplicates as Duplicates
    from penult.results.neighbourhood.duplicates import GroupShare as GroupShare
    from penult.results.neighbourhood.duplicates import Leak as Leak
    from penult.results.neighbourhood.duplicates import Leaks as Leaks
    from penult.results.neighbourhood.label_noise import LabelNoise as LabelNoise
    from penult.results.neighbourhood.neighbours import Neighbours as Neighbours
    from penult.results.neighbourhood.neighbours import Recall as Recall
    from penult.results.neighbourhood.rates import NeighbourRate as NeighbourRate
    from penult.results.neighbourhood.rates import NeighbourRates as NeighbourRates
    from penult.results.neighbourhood.rates import RunNeighbours as RunNeighbours
    from penult.results.neighbourhood.votes import NeighbourMetrics as NeighbourMetrics
    from penult.results.notes import Note as Note
    from penult.results.pictures.feature_map import FeatureMap as FeatureMap
    from penult.results.pictures.gallery import Example as Example
    from penult.results.pictures.gallery import Gallery as Gallery
    from penult.results.records import Checkpoint as Checkpoint
    from penult.results.records import Dataset as Dataset
    from penult.results.records import Features as Features
    from penult.results.records import FeatureSet as FeatureSet
    from penult.results.records import Group as Group
    from penult.results.records import Info as Info
    from penult.results.records import Run as Run
    from penult.results.records import RunManifest as RunManifest
    from penult.results.records import Split as Split
    from penult.results.refits import Certificate as Certificate
    from penult.results.refits import Interpolation as Interpolation
    from penult.results.refits import Refit as Refit
    from penult.results.refits import Selection as Selection
    from penult.results.rows.predictions import Predictions as Predictions
    from penult.results.run_spectra import RunSpectra as RunSpectra
    from penult.results.soups import soup as soup
    from penult.results.space.deletion import Deletion as Deletion
    from penult.results.space.deletion import StoredThing as StoredThing
    from penult.results.space.usage import Usage as Usage
    from penult.results.spectra import Imbalance as Imbalance
    from penult.results.spectra import Spectra as Spectra
    from penult.results.used_grouping import UsedGrouping as UsedGrouping
    from penult.saved import load as load
    from penult.wire.finetune_arguments import FinetuneArguments as FinetuneArguments
    from penult.wire.refit_arguments import RefitArguments as RefitArguments

    __version__: str

_NAMES = {
    "connecting": "local connect",
    "client": "Client",
    "options": "AdamW SGD Schedule CrossEntropy GroupDRO CVaRDRO Augment RepeatErrors Images Texts Compute Record",
    "calls.job": "Job",
    "wire.finetune_arguments": "FinetuneArguments",
    "wire.refit_arguments": "RefitArguments",
    "results.records": "Checkpoint Dataset FeatureSet Features Group Info Run RunManifest Split",
    "results.finetune_spec": "FinetuneSpec",
    "results.merging.merge": "Lineage Merge",
    "results.merging.head_soup": "HeadSoup HeadStep",
    "results.merging.curve": "MergeBarrier MergeCurve",
    "results.merge_origin": "MergeOrigin MergeStep",
    "results.metrics": "EpochMetrics Metrics",
    "results.spectra": "Imbalance Spectra",
    "results.run_spectra": "RunSpectra",
    "results.descriptors": "Descriptor Descriptors Eigenvectors PrincipalAngles VarianceShare",
    "results.comparing.comparison": "Comparison",
    "results.comparing.values": "ComparedValue",
    "results.diagnosis.definitions": "DiagnosticDefinition",
    "results.diagnosis.diagnosis": "Diagnosis DiagnosticValue",
    "results.diagnosis.epochs": "RunDiagnosis",
    "results.comparing.gap": "GapExplained GapStep",
    "results.diagnosis.influence": "Counterfactual Influence",
    "results.diagnosis.panels": "Panel PanelDefinition PanelValue",
    "results.neighbourhood.neighbours": "Neighbours Recall",
    "results.neighbourhood.votes": "NeighbourMetrics",
    "results.neighbourhood.duplicates": "Duplicates GroupShare Leak Leaks",
    "results.neighbourhood.label_noise": "LabelNoise",
    "results.neighbourhood.rates": "NeighbourRate NeighbourRates RunNeighbours",
    "results.refits": "Certificate Interpolation Refit Selection",
    "results.rows.predictions": "Predictions",
    "results.pictures.feature_map": "FeatureMap",
    "results.pictures.gallery": "Example Gallery",
    "results.heads": "Head",
    "results.groupings.consensus": "Consensus",
    "results.groupings.grouping": "Grouping GroupingArrays",
    "results.groupings.scores": "GroupingScore GroupingScores GroupingStability",
    "results.groupings.discovery_table": "DiscoveryRow DiscoveryTable",
    "results.used_grouping": "UsedGrouping",
    "results.soups": "soup",
    "results.notes": "Note",
    "results.lists.listing": "Listing",
    "results.lists.run_table": "RunTable",
    "results.lists.stored": "ResultSummary",
    "saved": "load",
    "results.space.deletion": "Deletion StoredThing",
    "results.space.usage": "Usage",
    "plots": "plot_history plot_run_spectra plot_spectra",
    "errors": "Busy Cancelled Conflict DeadlineExceeded InvalidRequest NotAllowed NotFound PenultError "
    "PreconditionFailed ServerBug StillRunning StoreCorrupt Unauthenticated Unavailable VersionMismatch",
}
"""The public names by the module that each lives in, in the order in which one meets them."""
_HOMES = {name: f"penult.{module}" for module, names in _NAMES.items() for name in names.split()}

_MODULES = ("datasets",)
"""Modules that are used by their name."""

__all__ = [*_HOMES, *_MODULES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]  it reads the imports above


@contextmanager
def _without_collections() -> Generator[None]:
    """Modules that are loaded stay, and collections of garbage meanwhile would look at all of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("penult")
    if name in _MODULES:
        return import_module(f"penult.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'penult' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    with _without_collections():
        value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
