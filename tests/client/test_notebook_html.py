"""What notebooks show of records: every one has its HTML, without scripts, and no name can break out of it."""

import importlib
import math
import pkgutil
from dataclasses import is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import penult
from penult.calls.job import Job, any_result
from penult.calls.job_group import JobGroup
from penult.calls.methods.groupings import grouping_methods
from penult.calls.methods.presets import presets
from penult.connection.rpc import Connection
from penult.display.html import WORST
from penult.display.names import in_usual_order, one_line
from penult.options import Options
from penult.results import records
from penult.results.comparing.comparison import Comparison
from penult.results.comparing.values import ComparedValue
from penult.results.descriptors import Descriptor, Descriptors, Eigenvectors, PrincipalAngles, VarianceShare
from penult.results.diagnosis.definitions import DiagnosticDefinition
from penult.results.diagnosis.diagnosis import Diagnosis, DiagnosticValue
from penult.results.diagnosis.epochs import RunDiagnosis
from penult.results.diagnosis.influence import Counterfactual, Influence
from penult.results.diagnosis.panels import Panel, PanelDefinition, PanelValue
from penult.results.groupings.discovery_table import DiscoveryRow, DiscoveryTable
from penult.results.groupings.gap import GapShare
from penult.results.groupings.grouping import Grouping, GroupingArrays
from penult.results.groupings.scores import GroupingScore, GroupingScores, GroupingStability
from penult.results.metrics import EpochMetrics, MaskMetrics, Metrics
from penult.results.neighbourhood.duplicates import Duplicates, GroupShare, Leaks
from penult.results.neighbourhood.label_noise import LabelNoise
from penult.results.neighbourhood.rates import NeighbourRate, NeighbourRates, RunNeighbours
from penult.results.neighbourhood.votes import NeighbourMetrics
from penult.results.notes import Note
from penult.results.records import Group
from penult.results.refits import Candidate, Certificate, Interpolation, Plan, Refit, Selection
from penult.results.run_spectra import RunSpectra
from penult.results.spectra import Imbalance, Spectra
from penult.wire import decode, decode_refits
from penult_proto.v1 import arrays_pb2, features_pb2, groups_pb2, jobs_pb2, refits_pb2, runs_pb2

HOSTILE = [
    "</script><script>alert(1)</script>",
    "</td></table><img src=x onerror=alert(1)>",
    "\"'><b>&amp;",
    "\u202eleft to right? \u2066 \x00 \ud800",
    "x" * 10_000,
    "one\nline\r\nof\tthree",
    "__import__ $\\frac{1}{0}$ <!-- {% raw %}",
]
ONE_LINE = (Spectra, RunSpectra, Metrics, EpochMetrics, Refit, Job, JobGroup, records.Run, records.FeatureSet)
ONE_LINE += (
    NeighbourMetrics,
    Duplicates,
    LabelNoise,
    NeighbourRates,
    RunNeighbours,
    Diagnosis,
    Comparison,
    RunDiagnosis,
    Influence,
    Counterfactual,
    Panel,
)
ALLOWED = {"div", "table", "thead", "tbody", "tr", "th", "td", "strong", "span", "bdi"}
STYLES = {"text-align", "padding", "vertical-align", "font-variant-numeric", "border-bottom", "border-collapse"}
STYLES |= {"margin", "margin-top", "white-space", "opacity", "font-weight"}


class Page(HTMLParser):
    """Text and rows of a piece of HTML; it must be well formed and hold nothing but the tags and styles of tables."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        source.encode()
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED
        assert {name for name, _ in attrs} <= {"style", "title", "colspan", "scope"}
        for style in (dict(attrs).get("style") or "").split(";"):
            name, _, value = style.partition(":")
            assert not style or name in STYLES
            assert not {"#", "rgb"} & {value[:1], value[:3]}, "colours are those of the page"
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def groups(names: list[str], counts: list[int] | None = None) -> tuple[Group, ...]:
    """Two attribute values of each class."""
    return tuple(
        Group(
            index=index,
            name=f"{name}, {value}",
            y=index // 2,
            a=index % 2,
            class_name=name,
            attribute_value=value,
            count=100 if counts is None else counts[index],
        )
        for index, (name, value) in enumerate((name, value) for name in names for value in ("grass", "gravel"))
    )


def metrics(members: tuple[Group, ...], worst: int, notes: tuple[Note, ...] = ()) -> Metrics:
    accuracy = np.array([0.9 if group.count else math.nan for group in members])
    accuracy[worst] = 0.5
    mask = MaskMetrics(name=members[0].class_name, count=10, correct=4, accuracy=0.4)
    return Metrics(
        groups=members,
        correct=np.nan_to_num(accuracy * [group.count for group in members]).astype(np.int64),
        group_accuracy=accuracy,
        group_low=accuracy - 0.05,
        group_high=accuracy + 0.05,
        confusion=np.zeros((len(members), 2), dtype=np.int64),
        average_accuracy=0.8,
        weighted_average_accuracy=0.85,
        worst_group_accuracy=0.5,
        worst_group=members[worst],
        worst_class_accuracy=0.7,
        balanced_accuracy=0.8,
        mean_group_accuracy=0.8,
        loss=0.3,
        brier=0.1,
        ece=0.05,
        ece_bins=15,
        auroc=0.9,
        average_weights=np.full(len(members), 1 / len(members)),
        masks=(mask,),
        worst_mask=mask,
        worst_mask_accuracy=0.4,
        notes=notes,
    )


def spectra(members: tuple[Group, ...], replicates: int = 200) -> Spectra:
    nan = math.nan
    entries = tuple(
        Imbalance(
            y=y,
            class_name=members[2 * y].class_name,
            minority=members[2 * y + 1].name,
            majority=members[2 * y].name,
            minority_index=2 * y + 1,
            majority_index=2 * y,
            n_minority=members[2 * y + 1].count,
            n_majority=members[2 * y].count,
            ratio=2.25,
            matched_ratio=1.75 if replicates else nan,
            low=1.125 if replicates else nan,
            high=3.5 if replicates else nan,
            p_value=0.02 / (y + 1) if replicates else nan,
            p_adjusted=0.04 / (y + 1) if replicates else nan,
            replicate_error=0.0,
        )
        for y in range(len(members) // 2)
    )
    values = np.ones((len(members), 6))
    return Spectra(
        digest="d" * 64,
        feature_set="f" * 64,
        by="group",
        groups=members,
        eigenvalues=values,
        residuals=values,
        trace=values.sum(1),
        methods=("full",) * len(members),
        converged=np.ones(len(members), dtype=np.bool_),
        imbalance=entries,
        correction=0,
        center=True,
        replicates=replicates,
        confidence=0.95,
        seed=0,
        n_rows=9,
        n_examples=9,
        rows_of_run="",
        reused=False,
    )


def refit(members: tuple[Group, ...], notes: tuple[Note, ...] = ()) -> Refit:
    candidates = tuple(
        Candidate(
            values={"gamma": gamma, "l2": l2},
            score=0.8 - abs(gamma - 5) / 100 - l2,
            worst_group_accuracy=0.7,
            average_accuracy=0.9,
            converged=True,
            step=0,
            failure=members[0].name if gamma == 4 else "",
        )
        for gamma in range(4, 14)
        for l2 in (0.0, 0.1, 0.2)
    )
    message = refits_pb2.Refit(digest="e" * 64, request=refits_pb2.RefitRequest(preset="afr"))
    bare = decode_refits.refit_settings(message.request)
    return Refit(
        digest="e" * 64,
        settings=bare,
        head=penult.Head(weight=np.ones((2, 3)), bias=np.ones(2)),
        certificate=Certificate(
            converged=True,
            gap=3e-9,
            gradient_norm=0.0,
            iterations=3,
            passes=12,
            objective=0.5,
            head_error=math.nan,
        ),
        metrics={"test": metrics(members, 1, notes), "val": metrics(members, 0), "extra": metrics(members[:2], 0)},
        selection=Selection(metric="worst_group", candidates=candidates, chosen=candidates[5]),
        plan=Plan(row_ids=np.arange(6, dtype=np.uint64).reshape(2, 3), weights=np.ones((2, 3))),
        n_rows=200,
        reused=False,
        notes=notes,
    )


def feature_set(members: tuple[Group, ...], name: str) -> records.FeatureSet:
    sent = features_pb2.FeatureSet(
        digest="f" * 64,
        n_examples=4,
        n_features=3,
        dtype=arrays_pb2.DTYPE_FLOAT32,
        labels=groups_pb2.Labels(classes=["a", "b"], attribute="ground", attribute_values=["grass", "gravel"]),
        train_shares=[1 / len(members)] * len(members),
    )
    return replace(decode.feature_set(sent), names=(name,), groups=members)


def job(title: str, state: int) -> Job[Any]:
    spec = jobs_pb2.JobSpec(register_dataset=jobs_pb2.RegisterDatasetSpec())
    made: Job[Any] = Job(Connection("localhost:1"), jobs_pb2.Job(id="j1", spec=spec, state=state), any_result)
    made._message.spec.register_dataset.name = title.encode("utf-8", "replace").decode()
    if state == jobs_pb2.JOB_STATE_FAILED:
        made._message.error.message = title.encode("utf-8", "replace").decode()
    return made


def everything(name: str) -> list[Any]:
    """A record of every kind with that name wherever a name may stand."""
    members = groups([name, f"other {name}"], [100, 50, 0, 90])
    note = (Note(f"of {name} nothing is known", "predicts_one_class"),)
    answer, fitted = spectra(members), refit(members, note)
    history = tuple(
        EpochMetrics(epoch=epoch, split=split, metrics=metrics(members, 1))
        for epoch in (0.0, 1.0)
        for split in ("test", name, "train", "val")
    )
    spec = replace(decode.finetune_spec(runs_pb2.FinetuneSpec(dataset="d", backbone="b")), dataset=name, backbone=name)
    checkpoint = decode.run(runs_pb2.Run(id="r", checkpoints=[runs_pb2.Checkpoint(digest="c", epoch=0)])).checkpoints[0]
    run = records.Run(
        id="r",
        spec=spec,
        dataset_digest="d" * 64,
        n_train_examples=9,
        checkpoints=(replace(checkpoint, dataset=name, classes=(name,)),),
        history=history,
        created=None,
        train_seconds=1.0,
        steps_per_epoch=2,
        notes=note,
    )
    manifest = records.RunManifest(
        run_id="r",
        spec=spec,
        dataset_digest="d",
        weights=name,
        kept_row_ids=np.arange(3, dtype=np.uint64),
        versions={"torch": name},
        device=name,
        threads=1,
        resumed_at=(),
        created=None,
    )
    split = records.Split(name=name, n_examples=240, groups=members, mask_counts=(7,))
    dataset = records.Dataset(
        name=name,
        digest="d" * 64,
        modality="image",
        classes=(name, f"other {name}"),
        attributes=(records.Attribute(name=name, values=(name,)),),
        splits=(split, replace(split, name="val"), replace(split, name="train")),
        masks=(name,),
        description=name,
        notes=note,
    )
    own = feature_set(members, name)
    integers = np.array([0, 1, 1], dtype=np.int64)
    features = records.Features(
        feature_set=own,
        features=np.ones((3, 3), np.float32),
        y=integers,
        a=integers,
        row_id=integers.astype(np.uint64),
        logits=None,
        head_weight=None,
        head_bias=None,
        attributes=None,
        masks=None,
    )
    backbone = records.Backbone(name=name, library="timm", weights=name)
    info = records.Info(
        version=name,
        protocol=2,
        device=name,
        array_backend="numpy",
        max_message_bytes=1,
        chunk_bytes=1,
        max_queued_jobs=1,
        max_running_jobs=1,
        packaged_backbones=(backbone,) * 9,
        n_feature_sets=0,
        n_checkpoints=0,
        n_results=0,
        n_groupings=0,
        root=name,
        compute_workers=(records.ComputeWorker(device=name, is_up=True),),
        user=name,
        role="runner",
    )
    vectors = np.ones((4, 2, 3))
    descriptor = Descriptor(id=name, formula=name, source=name, values=np.array([1.0, 2.0, np.nan, 3.0]))
    share = VarianceShare(id=name, formula=name, value=0.5)
    jobs = [job(name, jobs_pb2.JOB_STATE_RUNNING), job(name, jobs_pb2.JOB_STATE_FAILED)]
    assert fitted.selection is not None
    assert fitted.plan is not None
    return [
        *(members[0], own.labels, dataset.attributes[0], split, dataset, backbone, info),
        *(run.checkpoints[0], run, history[0], spec, manifest, own, features),
        *(answer, replace(answer, imbalance=()), answer.imbalance[0], spectra(members, 0)),
        RunSpectra(run=name, split=name, epochs=np.arange(2.0), checkpoints=("a", "b"), spectra=(answer, answer)),
        Descriptors(
            digest="d",
            feature_set="f",
            by="group",
            groups=members,
            descriptors={name: descriptor},
            variance_shares={name: share},
            reused=False,
        ),
        *(descriptor, share),
        Eigenvectors(
            feature_set="f",
            by="group",
            groups=members,
            eigenvalues=vectors[:, :, 0],
            vectors=vectors,
            correction=0,
            center=True,
        ),
        PrincipalAngles(
            digest="d",
            first=members[0],
            second=members[1],
            feature_sets=("f", "g"),
            angles=np.array([0.0, 0.5]),
            formula=name,
            reused=False,
        ),
        *(metrics(members, 1, note), metrics(members, 1).masks[0]),
        *(fitted, replace(fitted, metrics={}, selection=None), fitted.selection, fitted.selection.chosen),
        *(fitted.certificate, fitted.settings, fitted.plan, fitted.head),
        Interpolation(t=np.array([0.0, 1.0]), metrics=(metrics(members, 1),) * 2, notes=note),
        *(jobs[0], JobGroup(jobs), presets(), presets()[0]),
        *(grouping_methods(), grouping_methods()[0], *about_discovery(name)),
        *read_off_neighbours(members, name, note),
        *about_groupings(name, tuple(members), note),
    ]


def about_groupings(name: str, members: tuple[Any, ...], notes: Any) -> list[Any]:
    """A grouping, and its arrays."""
    empty = dict.fromkeys(Grouping.__dataclass_fields__, "")
    texts = dict.fromkeys(("method", "attribute", "dataset", "split", "name", "note", "user"), name)
    maps: dict[str, Any] = {"numbers": {name: 0.5}, "words": {name: name}, "scores": {name: 0.5}}
    rest: dict[str, Any] = {"groups": members, "n_rows": 9, "n_unassigned": 1, "seed": 1, "created": None}
    rest |= {"classes": (name,), "value_names": (name,), "tags": (name,), "notes": notes}
    ids = np.arange(3, dtype=np.uint64)
    return [
        Grouping(**{**empty, **texts, **maps, **rest, "digest": "d" * 64}),
        GroupingArrays(row_id=ids, values=ids.astype(np.int64), soft=None),
    ]


def about_discovery(name: str) -> list[Any]:
    """Records about groups that were found."""
    numbers = dict.fromkeys(GroupingScore.__dataclass_fields__, 0.5)
    words = {"name": name, "n_rows": 3, "minority": name, "minority_found": name}
    score = GroupingScore(**{**numbers, **words})
    cells = dict.fromkeys(DiscoveryRow.__dataclass_fields__, 0.5)
    row = DiscoveryRow(**{**cells, "method": name, "grouping": name, "n_groups": 4, "failure": name})
    return [
        *(score, GroupingScores(grouping=name, truth=name, classes=(score,), overall=score)),
        GroupingStability(method=name, groupings=(name, name), seeds=(0, 1), ari=np.ones((2, 2))),
        *(row, DiscoveryTable(rows=(row,), features=name, test=name, preset=name)),
        GapShare(share=0.5, low=0.1, high=math.nan),
    ]


def read_off_neighbours(members: tuple[Group, ...], name: str, note: tuple[Note, ...]) -> list[Any]:
    scores, shares = metrics(members, 1, note), tuple(GroupShare(group=one, count=3, share=0.1) for one in members)
    ids, flags = np.arange(3, dtype=np.uint64), np.array([True, False, True])
    pairs = Duplicates(
        digest="d" * 64,
        feature_set="f" * 64,
        against="g" * 64,
        metric="cosine",
        pairs=np.stack([ids, ids], axis=1),
        distances=np.zeros(3),
        components=np.arange(3),
        threshold=0.1,
        rule=name,
        n_exact=3,
        n_rows=3,
        groups=shares,
        with_duplicates=scores,
        without_duplicates=scores,
        p_value=0.1,
        expected_pairs=1.0,
        truncated=False,
        n_pairs=3,
        reused=False,
        notes=note,
    )
    noise = LabelNoise(
        digest="d" * 64,
        feature_set="f" * 64,
        k=20,
        folds=5,
        classes=(name, name),
        row_ids=ids,
        suspicion=np.array([0.9, 0.5, 0.1]),
        neighbour_class=np.array([1, 0, 1]),
        head_class=np.array([1, -1, 1]),
        flagged=flags,
        minority=~flags,
        flagged_groups=shares,
        minority_groups=shares,
        truncated=False,
        reused=False,
        notes=note,
    )
    rate = NeighbourRate(
        group=members[0],
        same_class=0.9,
        same_attribute={name: 0.8},
        same_group=math.nan,
        expected_class=0.5,
        expected_attribute={name: 0.5},
        expected_group=math.nan,
    )
    rates = NeighbourRates(
        digest="d" * 64,
        feature_set="f" * 64,
        among="f" * 64,
        k=20,
        attributes=(name,),
        groups=(rate,),
        overall=rate,
        hubness=1.0,
        reused=False,
        notes=note,
    )
    voted = NeighbourMetrics(
        digest="d" * 64,
        feature_set="f" * 64,
        among="f" * 64,
        temperature=0.07,
        balanced=True,
        ks=(10,),
        metrics=(scores,),
        reused=False,
        notes=note,
    )
    over_epochs = RunNeighbours(
        run=name, split=name, epochs=np.arange(2.0), checkpoints=("a", "b"), rates=(rates, rates)
    )
    definition = DiagnosticDefinition(
        id="cdnv",
        family="nc",
        formula=name,
        source=name,
        direction="lower",
        needs=("labels",),
        parts="pair, all",
        interval="bootstrap",
        matched=True,
        cost="n D R",
        numbers=(),
    )
    value = DiagnosticValue(
        id="cdnv",
        part=name,
        indices=(0,),
        column=name,
        value=1.0,
        low=0.5,
        high=math.nan,
        n=7,
        matched_value=1.0,
        matched_low=0.5,
        matched_high=1.5,
        null=math.nan,
        note=name,
    )
    diagnosis = Diagnosis(
        digest="d" * 64,
        feature_set="f" * 64,
        other="",
        by="group",
        groups=members,
        definitions={"cdnv": definition},
        values=(value, value),
        numbers={},
        replicates=200,
        matched_draws=200,
        matched_n=7,
        seed=0,
        n_rows=20,
        reused=False,
        notes=note,
    )
    of_panel = PanelDefinition(id="ece", formula=name, source=name, direction="lower")
    panel_value = PanelValue(
        id="ece",
        kind="mask",
        part=name,
        value=0.1,
        low=0.0,
        high=math.nan,
        n=3,
        null=0.1,
        null_low=0.0,
        null_high=0.2,
        note=name,
    )
    panel = Panel(name=name, definitions={"ece": of_panel}, values=(panel_value,))
    compared = ComparedValue(measure=name, name=name, systems=(name, name), part=name, value=0.1, note=name)
    group = records.Group(index=0, name=name, y=0, a=0, class_name=name, attribute_value=name, count=3)
    removal = Counterfactual(
        target=name,
        groups=(group,),
        row_ids=ids[:1],
        predicted=np.array([-0.1]),
        change=np.array([-0.2]),
        accuracy_before=np.array([0.5]),
        accuracy_after=np.array([0.6]),
        converged=True,
    )
    of_rows = Influence(
        digest="d" * 64,
        refit="r" * 64,
        fitted_feature_set="f" * 64,
        feature_set="f" * 64,
        by=name,
        groups=(group,),
        fitted_groups=(group,),
        row_ids=ids,
        fitted_group=np.zeros(3, np.int64),
        n_draws=np.ones(3, np.int64),
        change=np.array([[0.1], [-0.1], [0.0]]),
        own_change=np.ones(3),
        memorised=np.ones(3),
        leverage=np.ones(3),
        loss=np.ones(1),
        accuracy=np.ones(1),
        repeats=1,
        seed=0,
        reused=False,
        counterfactual=removal,
        notes=note,
    )
    return [
        removal,
        of_rows,
        compared,
        Comparison(
            split=name,
            systems=(name, name),
            checkpoints=("c" * 64,) * 2,
            n_rows=3,
            values=(compared,),
            notes=note,
        ),
        RunDiagnosis(run=name, split=name, epochs=np.zeros(1), checkpoints=("c" * 64,), diagnoses=(diagnosis,)),
        of_panel,
        panel_value,
        panel,
        definition,
        value,
        diagnosis,
        voted,
        pairs,
        shares[0],
        pairs.leaks,
        Leaks(splits=(name,), duplicates={name: pairs}),
        noise,
        rate,
        rates,
        over_epochs,
    ]


WITHIN = {"LocalFile", "Named", "Scored"}
"""Classes that a call uses within itself."""


def kinds() -> set[type]:
    """All public records of the client."""
    found: set[type] = set()
    for package in ("penult.results", "penult.calls"):
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            loaded = vars(importlib.import_module(module.name))
            found |= {
                one
                for name, one in loaded.items()
                if isinstance(one, type)
                and one.__module__ == module.name
                and is_dataclass(one)
                and name[0] != "_"
                and name not in WITHIN
            }
    return found


def is_options(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, Options)


def test_every_public_record_has_html() -> None:
    without = sorted(kind.__name__ for kind in kinds() if not hasattr(kind, "_repr_html_"))
    assert without == []
    # Options show as they are written.
    public = [one for one in (getattr(penult, name) for name in penult.__all__) if not is_options(one)]
    assert [one.__name__ for one in public if is_dataclass(one) and not hasattr(one, "_repr_html_")] == []


@pytest.mark.parametrize("name", ["sneaker", *HOSTILE], ids=["plain", *range(len(HOSTILE))])
def test_no_name_breaks_out_of_html_or_of_its_line(name: str) -> None:
    for record in everything(name):
        page = Page(record._repr_html_())
        if len(name) > 1000:
            assert len(page.text) < 10_000, type(record)


@pytest.mark.parametrize("name", HOSTILE[:2])
def test_a_hostile_name_is_read_as_it_is(name: str) -> None:
    page = Page(metrics(groups([name, "b"]), 0)._repr_html_())
    assert page.rows[1][0] == f"{name}, grass"


def test_the_reprs_with_results_are_one_line_and_bearable() -> None:
    for name in HOSTILE:
        for record in everything(name):
            kind = type(record)
            if kind in ONE_LINE:
                first, *notes = repr(record).split("\n")
                assert all(line.startswith("  note: ") for line in notes), kind
                assert len(first) < 1000, kind


def test_groups_stand_with_n_interval_and_the_worst_by_word_and_sign() -> None:
    members = groups(["sneaker", "boot"], [950, 50, 0, 900])
    header, *rows = Page(metrics(members, 1)._repr_html_()).rows[:6]
    assert header == ["group", "n", "accuracy [95 %]", ""]
    assert rows[0] == ["sneaker, grass", "950", "0.900 [0.850, 0.950]", ""]
    assert rows[1] == ["sneaker, gravel", "50", "0.500 [0.450, 0.550]", WORST]
    assert rows[2] == ["boot, grass", "0", "empty", ""]
    assert rows[4] == ["all", "1900", "0.800", "average"]
    assert WORST == "▼ worst"


def test_at_most_twenty_rows_of_which_the_worst_is_one() -> None:
    members = groups([f"class {index}" for index in range(32)])
    rows = Page(metrics(members, 63)._repr_html_()).rows[1:]
    shown = rows[: [row[0] for row in rows].index("and 44 more")]
    assert len(shown) == 20
    assert shown[-1][0] == "class 31, gravel"
    assert shown[-1][3] == WORST


def test_splits_stand_in_their_usual_order() -> None:
    assert in_usual_order(["b", "test", "a", "train", "val"]) == ["train", "val", "test", "a", "b"]
    run = next(one for one in everything("sneaker") if isinstance(one, records.Run))
    page = Page(run._repr_html_())
    assert page.rows[0][1::3] == ["train n", "val n", "test n", "sneaker n"]
    assert "after epoch 1" in page.text
    dataset = next(one for one in everything("sneaker") if isinstance(one, records.Dataset))
    assert list(dict.fromkeys(dataset.to_frame()["split"])) == ["train", "val", "sneaker"]
    assert Page(dataset._repr_html_()).rows[0] == ["group", "train n", "val n", "sneaker n"]


def test_what_was_evaluated_on_other_groups_has_a_table_of_its_own() -> None:
    page = Page(refit(groups(["sneaker", "boot"]))._repr_html_())
    headers = [row for row in page.rows if row[0] == "group"]
    assert headers[0][1::3] == ["val n", "test n"]
    assert headers[1][1::3] == ["extra n"]


def test_the_chosen_candidate_is_first_and_marked() -> None:
    selection = refit(groups(["sneaker", "boot"])).selection
    assert selection is not None
    rows = Page(selection._repr_html_()).rows
    assert rows[0] == ["gamma", "l2", "score", "worst group", "average", ""]
    assert rows[1][:2] == ["5", "0.2"]
    assert rows[1][5] == "◆ chosen"
    assert rows[-1] == ["and 10 more"]


def test_notes_stand_in_html() -> None:
    note = Note("one class is predicted for every row", "predicts_one_class")
    assert f"note:  {note}" in Page(metrics(groups(["a", "b"]), 0, (note,))._repr_html_()).text


# One-line representations


def test_the_repr_of_spectra_holds_the_imbalance() -> None:
    members = groups(["sneaker", "boot"])
    assert repr(spectra(members)) == (
        "Spectra(dddddddddddd, 4 by group, top 6, correction 0; "
        "sneaker: gravel / grass 2.25, at equal n 1.75 [1.12, 3.5] p=0.04, "
        "boot: gravel / grass 2.25, at equal n 1.75 [1.12, 3.5] p=0.02)"
    )
    assert repr(spectra(members[:2], 0)).endswith("correction 0; sneaker: gravel / grass 2.25)")
    assert repr(replace(spectra(members), imbalance=())).endswith("correction 0)")
    many = repr(spectra(groups([f"class {index}" for index in range(9)])))
    assert many.endswith("and 6 more)")
    assert "class 8:" in many
    assert "class 0:" not in many


def test_the_repr_of_a_refit_holds_what_was_chosen_and_its_scores() -> None:
    shown = repr(refit(groups(["sneaker", "boot"])))
    assert shown.startswith("Refit(eeeeeeeeeeee, afr, gamma 5, l2 0.2 (chosen of 30)")
    assert "gap 3e-09; val: average 0.800 worst group 0.500 (sneaker, grass), test: average 0.800" in shown


def test_the_repr_of_a_run_holds_the_last_worst_groups() -> None:
    run = next(one for one in everything("sneaker") if isinstance(one, records.Run))
    first = repr(run).splitlines()[0]
    assert first.endswith("; val worst group 0.500 (sneaker, gravel), test worst group 0.500 (sneaker, gravel))")


def test_the_repr_of_a_job_holds_state_and_stage() -> None:
    running = job("birds", jobs_pb2.JOB_STATE_RUNNING)
    running._message.progress.CopyFrom(jobs_pb2.Progress(stage="epoch 2 of 2", done=30, total=126, unit="steps"))
    assert repr(running) == "Job(j1, running, epoch 2 of 2: 30 of 126 steps, register dataset birds)"
    assert repr(JobGroup([running] * 7)) == "JobGroup(7 jobs: 7 running)"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_a_line_is_short_and_keeps_its_ends(name: str) -> None:
    line = one_line(name, 40)
    assert len(line) <= 40
    assert line.isprintable()
    line.encode()
    assert one_line("a" * 50 + "the end", 40).endswith("the end")
    assert one_line("sneaker, grass") == "sneaker, grass"


# Tables


def test_metrics_as_a_table() -> None:
    table = metrics(groups(["sneaker", "boot"], [950, 50, 0, 900]), 1).to_frame()
    assert list(table.columns) == ["group", "n", "correct", "accuracy", "low", "high", "worst", "notes"]
    assert list(table["worst"]) == [False, True, False, False]
    assert list(table["n"]) == [950, 50, 0, 900]
    assert list(table["correct"]) == [855, 25, 0, 810]
    assert math.isnan(table["accuracy"][2])
    masks = metrics(groups(["sneaker", "boot"]), 1).masks_to_frame()
    assert list(masks["mask"]) == ["sneaker"]
    assert (masks["accuracy"][0], masks["worst"][0]) == (0.4, True)


@pytest.mark.parametrize(("correct", "count"), [(0, 7), (7, 7), (4, 10), (812, 1000)])
def test_the_interval_of_a_mask_solves_wilson_s_equation(correct: int, count: int) -> None:
    """Its ends are the p with |k/n - p| = z sqrt(p (1 - p) / n) (Wilson 1927)."""
    from scipy.stats import norm

    share = correct / count
    for end in MaskMetrics(name="m", count=count, correct=correct, accuracy=share).interval:
        assert abs(share - end) == pytest.approx(norm.ppf(0.975) * math.sqrt(end * (1 - end) / count), abs=1e-9)


def test_lists_of_groups_rows_and_jobs_are_tables() -> None:
    members = groups(["sneaker", "boot"])
    assert list(feature_set(members, "mine").to_frame()["train_share"]) == [0.25] * 4
    features = next(one for one in everything("sneaker") if isinstance(one, records.Features))
    table = features.to_frame()
    assert list(table["g"]) == [0, 3, 3]
    assert list(table["class"]) == ["a", "b", "b"]
    assert list(table["group"])[1] == "other sneaker, gravel"
    plan = refit(members).plan
    assert plan is not None
    assert list(plan.to_frame()["draw"]) == [0, 0, 0, 1, 1, 1]
    jobs = JobGroup([job("birds", jobs_pb2.JOB_STATE_RUNNING), job("birds", jobs_pb2.JOB_STATE_FAILED)]).to_frame()
    assert list(jobs["state"]) == ["running", "failed"]
    assert jobs["error"][0] == ""
    assert "birds" in jobs["error"][1]
