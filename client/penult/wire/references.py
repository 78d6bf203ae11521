"""What callers name: a record, its digest, or its name. Another sort of record is refused with what to pass instead."""

from typing import TypeAlias, TypeVar

from penult.arguments import coerce
from penult.arguments.instead import wrong_sort
from penult.errors import invalid
from penult.results.descriptors import Descriptors, PrincipalAngles
from penult.results.diagnosis.diagnosis import Diagnosis
from penult.results.diagnosis.influence import Influence
from penult.results.groupings.grouping import Grouping
from penult.results.heads import Head, HeadArrays
from penult.results.lists.stored import ResultSummary
from penult.results.neighbourhood.duplicates import Duplicates
from penult.results.neighbourhood.label_noise import LabelNoise
from penult.results.neighbourhood.rates import NeighbourRates
from penult.results.neighbourhood.votes import NeighbourMetrics
from penult.results.records import Checkpoint, Dataset, Features, FeatureSet, Run
from penult.results.refits import Refit
from penult.results.spectra import Spectra
from penult.types import By, HeadChoice, Scaling
from penult_proto.enums import Enumeration, choices_of
from penult_proto.v1 import groups_pb2, runs_pb2

Number = TypeVar("Number", bound=int)
FeatureSetLike: TypeAlias = FeatureSet | str
"""A record, a digest, the start of one (at least 4 characters), a name, or "dataset/split" where that is one alone."""
Answer: TypeAlias = (
    Refit
    | Spectra
    | Descriptors
    | PrincipalAngles
    | NeighbourMetrics
    | Duplicates
    | LabelNoise
    | NeighbourRates
    | Diagnosis
    | Influence
)
"""What is stored under a digest."""
StoredAnswer: TypeAlias = ResultSummary | Answer
ResultLike: TypeAlias = StoredAnswer | str
"""An answer or its summary, a digest, the start of one (at least 4 characters), or a name."""
GroupingLike: TypeAlias = Grouping | str
"""A grouping, its digest, the start of one (at least 4 characters), or its name."""
ByLike: TypeAlias = By | Grouping | str
"""Over classes or groups; or the groups of a grouping: a record, its digest, the start of one, or its name."""
HeadLike: TypeAlias = HeadChoice | Head | Refit | HeadArrays | str
"""A head to penalise towards, or to start from; other text stands for a stored refit, as in `ResultLike`."""
AnyHead: TypeAlias = Head | Refit | Checkpoint | HeadArrays
"""A head to be scored; a checkpoint means its own finetuned one."""
AnyHeadLike: TypeAlias = AnyHead | str
"""The same; text is the digest, the start of one (at least 4 characters) or the name of a refit or a checkpoint."""
ScalingLike: TypeAlias = bool | Scaling | FeatureSetLike
"""What features are standardised by: False or "none", True or "rows", "all", or another feature set."""


_SLIPS = ("groups", "classes")
"""What is no name of a grouping, but meant for a choice."""


def feature_set_name(value: FeatureSetLike | Features, argument: str = "features") -> str:
    """The digest or name that stands for a feature set. Raises `InvalidRequest`."""
    if isinstance(value, FeatureSet):
        return value.digest
    if isinstance(value, Features):
        return value.feature_set.digest
    return _named(argument, "feature set", value, "a FeatureSet, a digest or a name")


def checkpoint_digest(value: Checkpoint | str, argument: str = "checkpoint") -> str:
    """The digest that stands for a checkpoint. Raises `InvalidRequest`."""
    if isinstance(value, Checkpoint):
        return value.digest
    return _named(argument, "checkpoint", value, "a Checkpoint, its digest or its name")


def grouping_name(value: GroupingLike, argument: str = "grouping") -> str:
    """The digest or name that stands for a grouping. Raises `InvalidRequest`."""
    if isinstance(value, Grouping):
        return value.digest
    return _named(argument, "grouping", value, "a Grouping, its digest or its name")


def grouped_by(value: object, choices: Enumeration[Number], argument: str = "by") -> tuple[Number, str]:
    """The choice of classes or groups, and the digest or name of a grouping; empty for the stored groups.

    Raises `InvalidRequest`.
    """
    names = choices_of(choices)
    if isinstance(value, Grouping):
        return names["group"], value.digest
    if isinstance(value, str) and value and value.lower() not in (*names, *_SLIPS):
        return names["group"], coerce.text(argument, value)
    if not isinstance(value, str):
        raise wrong_sort(argument, "grouping", value, "'group', 'class', or a Grouping, its digest or its name")
    return coerce.choice(argument, value, choices), ""


def scored_by(value: object) -> str:
    """The digest or name of the grouping by whose groups something is scored; empty for the stored groups.

    Raises `InvalidRequest`.
    """
    number, grouping = grouped_by(value, groups_pb2.BalanceBy)
    if number == groups_pb2.BALANCE_BY_CLASS:
        raise invalid(
            "by='class' adds nothing to metrics, which hold those of classes besides those of groups; give by='group' "
            "or a grouping",
            argument="by",
        )
    return grouping


def result_digest(value: ResultLike, argument: str = "result") -> str:
    """The digest or name that stands for a stored answer. Raises `InvalidRequest`."""
    if isinstance(value, StoredAnswer):
        return value.digest
    return _named(argument, "result", value, "an answer or its summary, a digest or a name")


def start_message(value: object) -> runs_pb2.Start:
    """What a finetuning starts from; text may stand for either. Raises `InvalidRequest`."""
    if isinstance(value, Checkpoint):
        return runs_pb2.Start(checkpoint=value.digest)
    if isinstance(value, Refit):
        return runs_pb2.Start(refit=value.digest)
    digest = _named("start", "checkpoint", value, "a Checkpoint, a Refit, or the digest or the name of one")
    return runs_pb2.Start(checkpoint=digest, refit=digest)


def run_id(value: Run | str, argument: str = "run") -> str:
    """The id that stands for a run. Raises `InvalidRequest`."""
    if isinstance(value, Run):
        return value.id
    return _named(argument, "run", value, "a Run, its id or its name")


def dataset_name(value: Dataset | str, argument: str = "dataset") -> str:
    """The name that stands for a dataset. Raises `InvalidRequest`."""
    if isinstance(value, Dataset):
        return value.name
    return _named(argument, "dataset", value, "a Dataset or its name")


def _named(argument: str, sort: str, value: object, expected: str) -> str:
    if not isinstance(value, str) or not value:
        raise wrong_sort(argument, sort, value, expected)
    return coerce.text(argument, value)
