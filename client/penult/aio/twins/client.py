"""The client, awaited. Made by ``python -m penult.aio.generate``."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import TYPE_CHECKING
from penult.aio.running import Twin, awaited
from penult.client import Client as SyncClient
from penult.aio.twins.jobs import Job, JobGroup
from penult.aio.twins.of_checkpoints import Checkpoints
from penult.aio.twins.of_datasets import Datasets
from penult.aio.twins.of_featuresets import FeatureSets
from penult.aio.twins.of_groupings import Groupings
from penult.aio.twins.of_jobs import Jobs
from penult.aio.twins.of_results import Results
from penult.aio.twins.of_runs import Runs
from penult.calls.discovery.discovering import STORED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping
    from collections.abc import Sequence
    from numpy.typing import ArrayLike
    from numpy.typing import NDArray
    from pathlib import Path
    from penult.calls.merging.methods import MergeMethods
    from penult.calls.methods.groupings import GroupingMethods
    from penult.calls.methods.presets import Presets
    from penult.calls.methods.recipes import Recipes
    from penult.calls.pictures.maps import MapMethod
    from penult.errors import PenultError
    from penult.options import AdamW
    from penult.options import Augment
    from penult.options import CVaRDRO
    from penult.options import Compute
    from penult.options import CrossEntropy
    from penult.options import GroupDRO
    from penult.options import Images
    from penult.options import Record
    from penult.options import RepeatErrors
    from penult.options import SGD
    from penult.options import Schedule
    from penult.options import Texts
    from penult.results.comparing.comparison import Comparison
    from penult.results.comparing.gap import GapExplained
    from penult.results.descriptors import Descriptors
    from penult.results.descriptors import Eigenvectors
    from penult.results.descriptors import PrincipalAngles
    from penult.results.diagnosis.definitions import DiagnosticDefinition
    from penult.results.diagnosis.diagnosis import Diagnosis
    from penult.results.diagnosis.epochs import RunDiagnosis
    from penult.results.diagnosis.influence import Influence
    from penult.results.groupings.consensus import Consensus
    from penult.results.groupings.discovery_table import DiscoveryTable
    from penult.results.groupings.grouping import Grouping
    from penult.results.groupings.scores import GroupingScores
    from penult.results.groupings.scores import GroupingStability
    from penult.results.heads import Head
    from penult.results.heads import HeadArrays
    from penult.results.lists.listing import Listing
    from penult.results.merging.curve import MergeCurve
    from penult.results.merging.head_soup import HeadSoup
    from penult.results.merging.merge import Lineage
    from penult.results.merging.merge import Merge
    from penult.results.metrics import Metrics
    from penult.results.neighbourhood.duplicates import Duplicates
    from penult.results.neighbourhood.duplicates import Leaks
    from penult.results.neighbourhood.label_noise import LabelNoise
    from penult.results.neighbourhood.neighbours import Neighbours
    from penult.results.neighbourhood.rates import NeighbourRates
    from penult.results.neighbourhood.rates import RunNeighbours
    from penult.results.neighbourhood.votes import NeighbourMetrics
    from penult.results.pictures.feature_map import FeatureMap
    from penult.results.pictures.gallery import Example
    from penult.results.pictures.gallery import Gallery
    from penult.results.records import Checkpoint
    from penult.results.records import Dataset
    from penult.results.records import FeatureSet
    from penult.results.records import Info
    from penult.results.records import Run
    from penult.results.refits import Interpolation
    from penult.results.refits import Refit
    from penult.results.rows.predictions import Predictions
    from penult.results.run_spectra import RunSpectra
    from penult.results.space.usage import Usage
    from penult.results.spectra import Spectra
    from penult.types import BalanceMethod
    from penult.types import BatchNormRule
    from penult.types import BatchNormStream
    from penult.types import FeatureKind
    from penult.types import FileHead
    from penult.types import GridName
    from penult.types import GroupSource
    from penult.types import HeadSoupRule
    from penult.types import Intercept
    from penult.types import Link
    from penult.types import MergeMethodName
    from penult.types import MergeScope
    from penult.types import MissingGroups
    from penult.types import NeighbourMethod
    from penult.types import NeighbourMetric
    from penult.types import NeighbourWithin
    from penult.types import OffsetChoice
    from penult.types import PenaltyScale
    from penult.types import Preset
    from penult.types import RecipeName
    from penult.types import Risk
    from penult.types import RowsChoice
    from penult.types import SpectraWeights
    from penult.types import StorageType
    from penult.types import WeightsChoice
    from penult.wire.encode_spectra import RowsLike
    from penult.wire.encode_spectra import SourceLike
    from penult.wire.finetune_arguments import FinetuneArguments
    from penult.wire.references import AnyHeadLike
    from penult.wire.references import ByLike
    from penult.wire.references import FeatureSetLike
    from penult.wire.references import GroupingLike
    from penult.wire.references import HeadLike
    from penult.wire.references import ResultLike
    from penult.wire.references import ScalingLike
    from penult.wire.refit_arguments import PathArguments
    from penult.wire.refit_arguments import RefitArguments
    from penult.wire.refit_arguments import SelectArguments
    from types import TracebackType
    from typing import Any
    from typing import Literal
    from typing import Self
    from typing import Unpack


class Client(Twin[SyncClient]):
    """A connection to a penult server; made by `penult.connect` or `penult.local`."""

    def __init__(self, sync: SyncClient) -> None:
        super().__init__(sync)
        self.checkpoints = Checkpoints(sync.checkpoints)
        self.datasets = Datasets(sync.datasets)
        self.features = FeatureSets(sync.features)
        self.groupings = Groupings(sync.groupings)
        self.runs = Runs(sync.runs)
        self.jobs = Jobs(sync.jobs)
        self.results = Results(sync.results)

    async def compare(self, items: Sequence[Run | Checkpoint], *, split: str, measures: Sequence[str] | str | None=None, select_split: str | None=None, sizes: Sequence[float] | None=None, timeout: float=600.0, progress: bool | None=None) -> Comparison:
        """Checkpoints by their own heads on one split: shared errors, what each does better, ranks, evenness.

        As `Client.compare` of the synchronous client.
        """
        return await awaited(self.sync.compare, items, split=split, measures=measures, select_split=select_split, sizes=sizes, timeout=timeout, progress=progress)  # pyright: ignore

    async def consensus(self, groupings: Sequence[GroupingLike], *, k: int=2, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=600.0) -> Consensus:
        """One grouping out of several of the same rows, and the rows that they disagree on.

        As `Client.consensus` of the synchronous client.
        """
        return await awaited(self.sync.consensus, groupings, k=k, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def descriptors(self, features: SourceLike, *, split: str | None=None, by: ByLike='group', rows: RowsLike | None=None, power_law: tuple[int, int]=(11, 50), timeout: float=600.0, progress: bool | None=None) -> Descriptors:
        """Numbers read off the spectrum of each group or class, each with its formula and paper.

        As `Client.descriptors` of the synchronous client.
        """
        return await awaited(self.sync.descriptors, features, split=split, by=by, rows=rows, power_law=power_law, timeout=timeout, progress=progress)  # pyright: ignore

    async def diagnose(self, features: SourceLike, ids: Sequence[str] | str, *, by: ByLike='group', other: SourceLike | None=None, matched: bool=True, replicates: int=200, numbers: Mapping[str, float] | None=None, rows: RowsLike | None=None, split: str | None=None, seed: int=0, timeout: float=600.0, progress: bool | None=None) -> Diagnosis:
        """Diagnostics of a feature set, all of them together: what several need is computed once.

        As `Client.diagnose` of the synchronous client.
        """
        return await awaited(self.sync.diagnose, features, ids, by=by, other=other, matched=matched, replicates=replicates, numbers=numbers, rows=rows, split=split, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def diagnose_run(self, run: Run | str, ids: Sequence[str] | str, *, split: str, by: ByLike='group', matched: bool=False, replicates: int=200, numbers: Mapping[str, float] | None=None, rows: RowsLike | None=None, seed: int=0, timeout: float=600.0, progress: bool | None=None) -> RunDiagnosis:
        """`diagnose` of every checkpoint of a run: when the shortcut is learned, when groups pull against each other.

        As `Client.diagnose_run` of the synchronous client.
        """
        return await awaited(self.sync.diagnose_run, run, ids, split=split, by=by, matched=matched, replicates=replicates, numbers=numbers, rows=rows, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def diagnostics(self, *, timeout: float=30.0) -> Listing[DiagnosticDefinition]:
        """Everything that is measured: ids by family, formulas, what they need and cost, and which call answers them.

        As `Client.diagnostics` of the synchronous client.
        """
        return await awaited(self.sync.diagnostics, timeout=timeout)  # pyright: ignore

    async def discover(self, features: SourceLike, *, method: str, split: str | None=None, rows: RowsLike | None=None, fit: FeatureSetLike | None=None, other: FeatureSetLike | None=None, head: AnyHeadLike | None=None, indices: Sequence[int] | None=None, seed: int=0, seeds: int | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=600.0, progress: bool | None=None, **options: Any) -> Grouping:
        """Groups that nobody labelled: a value for every row, which with its class makes its group.

        As `Client.discover` of the synchronous client.
        """
        return await awaited(self.sync.discover, features, method=method, split=split, rows=rows, fit=fit, other=other, head=head, indices=indices, seed=seed, seeds=seeds, name=name, tags=tags, note=note, timeout=timeout, progress=progress, **options)  # pyright: ignore

    async def discover_all(self, features: FeatureSetLike, *, fit: FeatureSetLike | None=None, test: FeatureSetLike | None=None, other: FeatureSetLike | None=None, head: AnyHeadLike | None=None, methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | None=None, groupings: Mapping[str, GroupingLike] | None=None, preset: Preset='dfr', replicates: int | None=0, seed: int=0, timeout: float=3600.0, progress: bool | None=None) -> DiscoveryTable:
        """Every method that finds groups on one table: how true its groups are, and what they are worth.

        As `Client.discover_all` of the synchronous client.
        """
        return await awaited(self.sync.discover_all, features, fit=fit, test=test, other=other, head=head, methods=methods, groupings=groupings, preset=preset, replicates=replicates, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def duplicates(self, features: SourceLike, *, against: FeatureSetLike | None=None, threshold: float | None=None, metric: NeighbourMetric='cosine', by: ByLike='group', split: str | None=None, across_checkpoints: bool=False, seed: int=0, timeout: float=600.0, progress: bool | None=None) -> Duplicates:
        """Equal and nearly equal rows of a set, or of a set and another split, and accuracies without them.

        As `Client.duplicates` of the synchronous client.
        """
        return await awaited(self.sync.duplicates, features, against=against, threshold=threshold, metric=metric, by=by, split=split, across_checkpoints=across_checkpoints, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def eigenvectors(self, features: SourceLike, *, split: str | None=None, by: ByLike='group', top_k: int=10, correction: int=0, center: bool=True, rows: RowsLike | None=None, timeout: float=3600.0, progress: bool | None=None) -> Eigenvectors:
        """Top eigenvectors of the covariance of each group or class, read as a stream; nothing of them is stored.

        As `Client.eigenvectors` of the synchronous client.
        """
        return await awaited(self.sync.eigenvectors, features, split=split, by=by, top_k=top_k, correction=correction, center=center, rows=rows, timeout=timeout, progress=progress)  # pyright: ignore

    async def evaluate(self, head: AnyHeadLike, features: FeatureSetLike, *, class_map: Mapping[str, str] | None=None, across_checkpoints: bool=False, train: FeatureSetLike | None=None, by: ByLike='group', panels: Sequence[str] | str | None=None, calibration: FeatureSetLike | None=None, timeout: float=300.0, progress: bool | None=None) -> Metrics:
        """Metrics of a head on a feature set: counts and accuracies by group (with Wilson intervals), class and mask,

        As `Client.evaluate` of the synchronous client.
        """
        return await awaited(self.sync.evaluate, head, features, class_map=class_map, across_checkpoints=across_checkpoints, train=train, by=by, panels=panels, calibration=calibration, timeout=timeout, progress=progress)  # pyright: ignore

    async def evaluate_neighbours(self, features: SourceLike, *, among: FeatureSetLike | None=None, k: Sequence[int] | int | None=None, temperature: float=0.07, balanced: bool | GroupingLike=False, by: ByLike='group', split: str | None=None, across_checkpoints: bool=False, timeout: float=600.0, progress: bool | None=None) -> NeighbourMetrics:
        """Metrics of k-nearest-neighbour classification, for several k in one pass.

        As `Client.evaluate_neighbours` of the synchronous client.
        """
        return await awaited(self.sync.evaluate_neighbours, features, among=among, k=k, temperature=temperature, balanced=balanced, by=by, split=split, across_checkpoints=across_checkpoints, timeout=timeout, progress=progress)  # pyright: ignore

    async def examples(self, dataset: Dataset | str, split: str, row_ids: Sequence[int] | NDArray[Any], *, side: int=96, timeout: float=120.0) -> tuple[Example, ...]:
        """Examples of a dataset as a person sees them: small PNG files, or texts, in the order of `row_ids`.

        As `Client.examples` of the synchronous client.
        """
        return await awaited(self.sync.examples, dataset, split, row_ids, side=side, timeout=timeout)  # pyright: ignore

    async def explain_gap(self, sets: Mapping[str, FeatureSetLike], group: str, *, head: AnyHeadLike | None=None, held_out: str='val', test: str='test', label_noise: bool=True, seed: int=0, timeout: float=600.0, progress: bool | None=None) -> GapExplained:
        """The accuracy of one group with its threshold, its head, its rows and its features mended, one by one.

        As `Client.explain_gap` of the synchronous client.
        """
        return await awaited(self.sync.explain_gap, sets, group, head=head, held_out=held_out, test=test, label_noise=label_noise, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def extract(self, checkpoint: Checkpoint | str, *, dataset: Dataset | str | None=None, attribute: str | None=None, splits: Sequence[str] | None=None, kind: FeatureKind='pooled', dtype: StorageType='float32', batch_size: int=64, class_map: Mapping[str, str] | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=60.0) -> Job[dict[str, FeatureSet]]:
        """Start caching the penultimate features of a checkpoint; ``.wait()`` gives feature sets by split.

        As `Client.extract` of the synchronous client.
        """
        return await awaited(self.sync.extract, checkpoint, dataset=dataset, attribute=attribute, splits=splits, kind=kind, dtype=dtype, batch_size=batch_size, class_map=class_map, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def finetune(self, *, dataset: Dataset | str | None=None, backbone: str | Path | None=None, start: Checkpoint | Refit | str | None=None, recipe: RecipeName | None=None, attribute: str | None=None, pretrained: bool | None=None, weights: str | Path | None=None, head: FileHead | None=None, balance: BalanceMethod | None=None, by: ByLike | None=None, ratio: float | Literal['dataset'] | None=None, group_ratio: float | None=None, missing_groups: MissingGroups | None=None, epochs: int | None=None, batch_size: int | None=None, seed: int | None=None, evaluate: Sequence[str] | None=None, optimizer: AdamW | SGD | None=None, schedule: Schedule | None=None, loss: CrossEntropy | GroupDRO | CVaRDRO | None=None, augment: Augment | None=None, repeat: RepeatErrors | None=None, inputs: Images | Texts | None=None, compute: Compute | None=None, record: Record | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=60.0) -> Job[Run]:
        """Start finetuning all weights of a backbone; ``.wait()`` gives the `Run`.

        As `Client.finetune` of the synchronous client.
        """
        return await awaited(self.sync.finetune, dataset=dataset, backbone=backbone, start=start, recipe=recipe, attribute=attribute, pretrained=pretrained, weights=weights, head=head, balance=balance, by=by, ratio=ratio, group_ratio=group_ratio, missing_groups=missing_groups, epochs=epochs, batch_size=batch_size, seed=seed, evaluate=evaluate, optimizer=optimizer, schedule=schedule, loss=loss, augment=augment, repeat=repeat, inputs=inputs, compute=compute, record=record, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def finetunes(self, requests: Sequence[FinetuneArguments]=({},), *, seeds: Iterable[int] | None=None, timeout: float=60.0, **common: Unpack[FinetuneArguments]) -> JobGroup[Run]:
        """Start several finetunings, a sweep, each with every seed; ``.wait()`` gives their runs in order.

        As `Client.finetunes` of the synchronous client.
        """
        return await awaited(self.sync.finetunes, requests, seeds=seeds, timeout=timeout, **common)  # pyright: ignore

    async def gallery(self, neighbours: Neighbours, *, rows: Sequence[int] | NDArray[Any] | None=None, most: int=6, side: int=96, timeout: float=120.0) -> Gallery:
        """A page of rows and their nearest neighbours, as a person sees them; neighbours of another class are marked.

        As `Client.gallery` of the synchronous client.
        """
        return await awaited(self.sync.gallery, neighbours, rows=rows, most=most, side=side, timeout=timeout)  # pyright: ignore

    def grouping_methods(self) -> GroupingMethods:
        """The methods that `discover` knows by name: what each does, its source, and its options.

        As `Client.grouping_methods` of the synchronous client.
        """
        return self.sync.grouping_methods()

    async def grouping_stability(self, features: FeatureSetLike, *, method: str, seeds: Sequence[int]=(0, 1, 2, 3, 4), share: float | None=None, timeout: float=600.0, progress: bool | None=None, **arguments: Any) -> GroupingStability:
        """Whether a method finds the same groups again: mean within-class ARI of every two of several groupings.

        As `Client.grouping_stability` of the synchronous client.
        """
        return await awaited(self.sync.grouping_stability, features, method=method, seeds=seeds, share=share, timeout=timeout, progress=progress, **arguments)  # pyright: ignore

    async def influence(self, refit: ResultLike, on: SourceLike, *, by: ByLike='group', target: str | None=None, top_k: int=10, verify: int=0, rows: RowsLike | None=None, split: str | None=None, across_checkpoints: bool=False, seed: int=0, timeout: float=600.0, progress: bool | None=None) -> Influence:
        """How the loss of each group changes when a row that was fitted is removed, for every row and group at once.

        As `Client.influence` of the synchronous client.
        """
        return await awaited(self.sync.influence, refit, on, by=by, target=target, top_k=top_k, verify=verify, rows=rows, split=split, across_checkpoints=across_checkpoints, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def info(self, *, timeout: float=30.0) -> Info:
        """Version, device, limits and packaged backbones of the server, and how much it has stored.

        As `Client.info` of the synchronous client.
        """
        return await awaited(self.sync.info, timeout=timeout)  # pyright: ignore

    async def interpolate(self, first: AnyHeadLike, second: AnyHeadLike, features: FeatureSetLike, *, train: FeatureSetLike | None=None, by: ByLike='group', steps: int=21, class_map: Mapping[str, str] | None=None, across_checkpoints: bool=False, timeout: float=300.0, progress: bool | None=None) -> Interpolation:
        """Metrics along the line between two heads, ends included; exact, since logits are linear in the head.

        As `Client.interpolate` of the synchronous client.
        """
        return await awaited(self.sync.interpolate, first, second, features, train=train, by=by, steps=steps, class_map=class_map, across_checkpoints=across_checkpoints, timeout=timeout, progress=progress)  # pyright: ignore

    async def label_noise(self, features: SourceLike, *, k: int=20, folds: int=5, temperature: float=0.07, by: ByLike='group', split: str | None=None, seed: int=0, timeout: float=600.0, progress: bool | None=None) -> LabelNoise:
        """Rows whose label their neighbours and a head that has not seen them contradict: wrong, or of a minority.

        As `Client.label_noise` of the synchronous client.
        """
        return await awaited(self.sync.label_noise, features, k=k, folds=folds, temperature=temperature, by=by, split=split, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def leaks(self, splits: Mapping[str, FeatureSetLike], *, threshold: float | None=None, metric: NeighbourMetric='cosine', by: Mapping[str, GroupingLike] | None=None, across_checkpoints: bool=False, seed: int=0, timeout: float=600.0, progress: bool | None=None) -> Leaks:
        """`duplicates` between every two of several splits, as one table by pair of splits and group.

        As `Client.leaks` of the synchronous client.
        """
        return await awaited(self.sync.leaks, splits, threshold=threshold, metric=metric, by=by, across_checkpoints=across_checkpoints, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def lineage(self, checkpoint: Checkpoint | Merge | str, *, timeout: float=30.0) -> Lineage:
        """What a checkpoint was made of, as a tree: parents and base of a merge, the start of a run, and theirs.

        As `Client.lineage` of the synchronous client.
        """
        return await awaited(self.sync.lineage, checkpoint, timeout=timeout)  # pyright: ignore

    async def map(self, features: SourceLike, *, split: str | None=None, by: ByLike='group', rows: RowsLike | None=None, method: MapMethod='pca', seed: int=0, timeout: float=600.0, progress: bool | None=None) -> FeatureMap:
        """Two coordinates of every row, to look at.

        As `Client.map` of the synchronous client.
        """
        return await awaited(self.sync.map, features, split=split, by=by, rows=rows, method=method, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def merge(self, checkpoints: Sequence[Checkpoint | Run | str], *, method: MergeMethodName='uniform', shares: Sequence[float] | None=None, base: Checkpoint | str | None=None, scope: MergeScope | None=None, blocks: Sequence[str] | None=None, t: float | None=None, k: int | None=None, scale: float | None=None, density: float | None=None, smallest: float | None=None, largest: float | None=None, per_tensor: bool | None=None, alpha: float | None=None, rows: int | None=None, row_stream: BatchNormStream | None=None, select: Mapping[str, Any] | None=None, bn: BatchNormRule | None=None, bn_stream: BatchNormStream | None=None, bn_batch_size: int | None=None, bn_count: int | None=None, bn_seed: int | None=None, dataset: Dataset | str | None=None, attribute: str | None=None, allow_datasets: bool=False, allow_extrapolation: bool=False, seed: int | None=None, then: Mapping[str, Any] | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=60.0) -> Job[Merge]:
        """Merge checkpoints of one architecture into a new one; ``.wait()`` gives the `Merge`.

        As `Client.merge` of the synchronous client.
        """
        return await awaited(self.sync.merge, checkpoints, method=method, shares=shares, base=base, scope=scope, blocks=blocks, t=t, k=k, scale=scale, density=density, smallest=smallest, largest=largest, per_tensor=per_tensor, alpha=alpha, rows=rows, row_stream=row_stream, select=select, bn=bn, bn_stream=bn_stream, bn_batch_size=bn_batch_size, bn_count=bn_count, bn_seed=bn_seed, dataset=dataset, attribute=attribute, allow_datasets=allow_datasets, allow_extrapolation=allow_extrapolation, seed=seed, then=then, name=name, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    async def merge_curve(self, first: Checkpoint | Merge | Run | str, second: Checkpoint | Merge | Run | str, *, steps: int | None=None, t: Sequence[float] | None=None, splits: Sequence[str] | None=None, blocks: Literal['each'] | None=None, scope: MergeScope | None=None, bn: BatchNormRule | None=None, bn_stream: BatchNormStream | None=None, bn_batch_size: int | None=None, bn_count: int | None=None, bn_seed: int | None=None, dataset: Dataset | str | None=None, attribute: str | None=None, allow_datasets: bool=False, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=60.0) -> Job[MergeCurve]:
        """Measure networks on the line between two, by group; ``.wait()`` gives the `MergeCurve`.

        As `Client.merge_curve` of the synchronous client.
        """
        return await awaited(self.sync.merge_curve, first, second, steps=steps, t=t, splits=splits, blocks=blocks, scope=scope, bn=bn, bn_stream=bn_stream, bn_batch_size=bn_batch_size, bn_count=bn_count, bn_seed=bn_seed, dataset=dataset, attribute=attribute, allow_datasets=allow_datasets, tags=tags, note=note, timeout=timeout)  # pyright: ignore

    def merge_methods(self) -> MergeMethods:
        """The methods that `merge` knows by name: what each does, its source, its numbers and their ranges.

        As `Client.merge_methods` of the synchronous client.
        """
        return self.sync.merge_methods()

    async def neighbour_rates(self, features: SourceLike, *, among: FeatureSetLike | None=None, k: int=20, metric: NeighbourMetric='cosine', by: ByLike='group', split: str | None=None, across_checkpoints: bool=False, timeout: float=600.0, progress: bool | None=None) -> NeighbourRates:
        """What a feature space is organised by: the share of neighbours of the same class, attributes and group.

        As `Client.neighbour_rates` of the synchronous client.
        """
        return await awaited(self.sync.neighbour_rates, features, among=among, k=k, metric=metric, by=by, split=split, across_checkpoints=across_checkpoints, timeout=timeout, progress=progress)  # pyright: ignore

    async def neighbours(self, features: SourceLike, *, among: FeatureSetLike | None=None, k: int=10, metric: NeighbourMetric='cosine', within: NeighbourWithin | None=None, by: ByLike='group', recall: float=1.0, method: NeighbourMethod | None=None, split: str | None=None, rows: RowsLike | None=None, across_checkpoints: bool=False, seed: int=0, timeout: float=3600.0, progress: bool | None=None) -> Neighbours:
        """The k nearest rows of each row, with their distances in float64.

        As `Client.neighbours` of the synchronous client.
        """
        return await awaited(self.sync.neighbours, features, among=among, k=k, metric=metric, within=within, by=by, recall=recall, method=method, split=split, rows=rows, across_checkpoints=across_checkpoints, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def predictions(self, features: FeatureSetLike, head: AnyHeadLike | None=None, *, class_map: Mapping[str, str] | None=None, across_checkpoints: bool=False, timeout: float=600.0, progress: bool | None=None) -> Predictions:
        """What a head predicts for every example of a feature set: class, probabilities, label, attribute, group.

        As `Client.predictions` of the synchronous client.
        """
        return await awaited(self.sync.predictions, features, head, class_map=class_map, across_checkpoints=across_checkpoints, timeout=timeout, progress=progress)  # pyright: ignore

    def presets(self) -> Presets:
        """The published methods that `refit` knows by name: what each does, its source, and what it sets.

        As `Client.presets` of the synchronous client.
        """
        return self.sync.presets()

    async def principal_angles(self, first: SourceLike, second: SourceLike, *, groups: tuple[str | int, str | int], split: str | None=None, by: ByLike='group', top_k: int=10, rows: RowsLike | None=None, timeout: float=600.0, progress: bool | None=None) -> PrincipalAngles:
        """Angles between the spans of the top eigenvectors of two groups, or of one group in two feature sets.

        As `Client.principal_angles` of the synchronous client.
        """
        return await awaited(self.sync.principal_angles, first, second, groups=groups, split=split, by=by, top_k=top_k, rows=rows, timeout=timeout, progress=progress)  # pyright: ignore

    def recipes(self) -> Recipes:
        """The published set-ups that ``finetune(recipe=...)`` knows: what each is, its source, and what it sets.

        As `Client.recipes` of the synchronous client.
        """
        return self.sync.recipes()

    async def refit(self, features: FeatureSetLike, *, preset: Preset | None=None, balance: BalanceMethod | None=None, by: ByLike | None=None, ratio: float | None=None, group_ratio: float | None=None, missing_groups: MissingGroups | None=None, l1: float | None=None, l2: float | None=None, penalty: PenaltyScale | None=None, center: HeadLike | None=None, intercept: Intercept | None=None, link: Link | None=None, standardize: ScalingLike | None=None, repeats: int | None=None, weights: WeightsChoice | ArrayLike | None=None, gamma: float | None=None, up: float | None=None, class_ratio: float | None=None, detector: PathArguments | None=None, detector_l1: float | None=None, rows: RowsChoice | ArrayLike | None=None, top_k: int | None=None, other: FeatureSetLike | None=None, offset: OffsetChoice | None=None, tau: float | None=None, groups: GroupSource | None=None, risk: Risk | None=None, alpha: float | None=None, subspace: int | None=None, path: PathArguments | None=None, grid: Mapping[GridName, Sequence[float]] | None=None, select: SelectArguments | None=None, evaluate: Mapping[str, FeatureSetLike] | None=None, train: FeatureSetLike | None=None, seed: int=0, plan: bool=False, tolerance: float | None=None, max_iterations: int | None=None, across_checkpoints: bool=False, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=600.0, progress: bool | None=None) -> Refit:
        """Retrain the last layer on stored features.

        As `Client.refit` of the synchronous client.
        """
        return await awaited(self.sync.refit, features, preset=preset, balance=balance, by=by, ratio=ratio, group_ratio=group_ratio, missing_groups=missing_groups, l1=l1, l2=l2, penalty=penalty, center=center, intercept=intercept, link=link, standardize=standardize, repeats=repeats, weights=weights, gamma=gamma, up=up, class_ratio=class_ratio, detector=detector, detector_l1=detector_l1, rows=rows, top_k=top_k, other=other, offset=offset, tau=tau, groups=groups, risk=risk, alpha=alpha, subspace=subspace, path=path, grid=grid, select=select, evaluate=evaluate, train=train, seed=seed, plan=plan, tolerance=tolerance, max_iterations=max_iterations, across_checkpoints=across_checkpoints, name=name, tags=tags, note=note, timeout=timeout, progress=progress)  # pyright: ignore

    async def refits(self, requests: Sequence[RefitArguments], *, timeout: float=600.0, progress: bool | None=None) -> list[Refit | PenultError]:
        """Several refits, solved together where they share a feature set; answers in the order of `requests`.

        As `Client.refits` of the synchronous client.
        """
        return await awaited(self.sync.refits, requests, timeout=timeout, progress=progress)  # pyright: ignore

    async def run_neighbours(self, run: Run | str, *, split: str, k: int=20, metric: NeighbourMetric='cosine', by: ByLike='group', timeout: float=600.0, progress: bool | None=None) -> RunNeighbours:
        """`neighbour_rates` of every checkpoint of a run: from when on the space is organised by what.

        As `Client.run_neighbours` of the synchronous client.
        """
        return await awaited(self.sync.run_neighbours, run, split=split, k=k, metric=metric, by=by, timeout=timeout, progress=progress)  # pyright: ignore

    async def run_spectra(self, run: Run | str, *, split: str, by: ByLike='group', top_k: int | None=None, correction: int=0, center: bool=True, replicates: int | None=None, confidence: float=0.95, seed: int=0, rows: RowsLike | None=None, weights: SpectraWeights | None=None, gamma: float | None=None, timeout: float=3600.0, progress: bool | None=None) -> RunSpectra:
        """The `spectra` of every checkpoint of a run, as one answer: ``.eigenvalues`` (E, G, K).

        As `Client.run_spectra` of the synchronous client.
        """
        return await awaited(self.sync.run_spectra, run, split=split, by=by, top_k=top_k, correction=correction, center=center, replicates=replicates, confidence=confidence, seed=seed, rows=rows, weights=weights, gamma=gamma, timeout=timeout, progress=progress)  # pyright: ignore

    async def score_grouping(self, grouping: GroupingLike, truth: GroupingLike=STORED, *, permutations: int=200, seed: int=0, timeout: float=120.0, progress: bool | None=None) -> GroupingScores:
        """How well a grouping agrees with the true groups, within each class.

        As `Client.score_grouping` of the synchronous client.
        """
        return await awaited(self.sync.score_grouping, grouping, truth, permutations=permutations, seed=seed, timeout=timeout, progress=progress)  # pyright: ignore

    async def soup(self, heads: Sequence[Head | Refit | HeadArrays | str], weights: ArrayLike | None=None, *, across_checkpoints: bool=False, timeout: float=30.0) -> Head:
        """The mean of several heads, or their mixture: `penult.soup`, whose heads may be named here.

        As `Client.soup` of the synchronous client.
        """
        return await awaited(self.sync.soup, heads, weights, across_checkpoints=across_checkpoints, timeout=timeout)  # pyright: ignore

    async def soup_heads(self, heads: Sequence[AnyHeadLike], features: FeatureSetLike, *, weights: HeadSoupRule='uniform', by_group: bool=False, margin: float=0.0, groups: Sequence[int] | None=None, class_map: Mapping[str, str] | None=None, across_checkpoints: bool=False, timeout: float=300.0, progress: bool | None=None) -> HeadSoup:
        """One head of several on a feature set, exact and without a new pass: its shares, and who helps which group.

        As `Client.soup_heads` of the synchronous client.
        """
        return await awaited(self.sync.soup_heads, heads, features, weights=weights, by_group=by_group, margin=margin, groups=groups, class_map=class_map, across_checkpoints=across_checkpoints, timeout=timeout, progress=progress)  # pyright: ignore

    async def spectra(self, features: SourceLike, *, split: str | None=None, by: ByLike='group', top_k: int | None=None, correction: int=0, center: bool=True, replicates: int | None=None, confidence: float=0.95, seed: int=0, rows: RowsLike | None=None, weights: SpectraWeights | None=None, gamma: float | None=None, name: str | None=None, tags: Sequence[str] | None=None, note: str | None=None, timeout: float=600.0, progress: bool | None=None) -> Spectra:
        """Eigenvalues of the covariance of the features of each group or class, and how they compare.

        As `Client.spectra` of the synchronous client.
        """
        return await awaited(self.sync.spectra, features, split=split, by=by, top_k=top_k, correction=correction, center=center, replicates=replicates, confidence=confidence, seed=seed, rows=rows, weights=weights, gamma=gamma, name=name, tags=tags, note=note, timeout=timeout, progress=progress)  # pyright: ignore

    async def usage(self, *, timeout: float=300.0) -> Usage:
        """What the store takes on its disk: by sort of thing, by run, by user; and what is free.

        As `Client.usage` of the synchronous client.
        """
        return await awaited(self.sync.usage, timeout=timeout)  # pyright: ignore

    async def close(self) -> None:
        """End the connection; see `penult.Client.close`."""
        await awaited(self.sync.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
