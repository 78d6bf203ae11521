"""Refit presets: published methods as data. The server expands them, the client lists and explains them.

A preset is a request with the fields that make the method; what a request says itself takes their place. Numbers
are those of the methods' reference implementations where they have any. To add one of existing parts, write it into
`PRESETS`, run ``python -m penult_proto.generate``, and test its right value.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from penult_proto.v1 import groups_pb2 as groups
from penult_proto.v1 import refits_pb2 as pb

SUBSETS_OF_GROUPS = groups.Balance(method=groups.BALANCE_METHOD_SUBSETTING, by=groups.BALANCE_BY_GROUP)
SUBSETS_OF_CLASSES = groups.Balance(method=groups.BALANCE_METHOD_SUBSETTING, by=groups.BALANCE_BY_CLASS)
DRAWS_OF_CLASSES = groups.Balance(method=groups.BALANCE_METHOD_UPSAMPLING, by=groups.BALANCE_BY_CLASS)
DRAWS_OF_GROUPS = groups.Balance(method=groups.BALANCE_METHOD_UPSAMPLING, by=groups.BALANCE_BY_GROUP)
WEIGHTS_OF_CLASSES = groups.Balance(method=groups.BALANCE_METHOD_UPWEIGHTING, by=groups.BALANCE_BY_CLASS)
WEIGHTS_OF_GROUPS = groups.Balance(method=groups.BALANCE_METHOD_UPWEIGHTING, by=groups.BALANCE_BY_GROUP)
NO_BALANCE = groups.Balance(method=groups.BALANCE_METHOD_NONE)

DFR_SOURCE = "Kirichenko et al. 2022, arXiv 2204.02937"
LEIA_SOURCE = "LEIA, later MARLA, Gourabathina et al. 2026, arXiv 2602.06924"
AFR_SOURCE = "Qiu et al. 2023, arXiv 2306.11074"
SELF_SOURCE = "LaBonte et al. 2023, arXiv 2309.08534"
RAD_SOURCE = "arXiv 2402.11039"
CRT_SOURCE = "Yang et al. 2023, arXiv 2302.12254, the subpopulation benchmark's recipe for images"

NO_SCALING = pb.Scaling(kind=pb.SCALING_KIND_NONE)
SCALING_OF_ROWS = pb.Scaling(kind=pb.SCALING_KIND_ROWS)
SCALING_OF_ALL = pb.Scaling(kind=pb.SCALING_KIND_ALL)
SCALING_OF_A_SET = pb.Scaling(kind=pb.SCALING_KIND_SET)
STORED_HEAD = pb.HeadSource(kind=pb.HEAD_KIND_STORED)

DFR_PENALTIES = [1 / c for c in (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)]
"""1 / C of the DFR scripts, in their order: ties go to the first."""
DFR_CLASS_RATIOS = [1.0, *(float(w) for w in (2, 3, 10, 100, 300, 1000)), *(1 / w for w in (2, 3, 10, 100, 300, 1000))]
"""Weights of class 1 relative to class 0 in the DFR script's order: ties go to the first."""
DFR_TUNING = pb.Select(
    half=True,
    metric=pb.SELECT_METRIC_WORST_GROUP,
    final=pb.SELECT_FINAL_REFIT,
    repeats=1,
    scaling=SCALING_OF_ROWS,
)


def _dfr(**replaced: object) -> pb.RefitRequest:
    """L1, tuned on half of the rows, 20 balanced draws averaged."""
    request = pb.RefitRequest(
        balance=SUBSETS_OF_GROUPS,
        repeats=20,
        scaling=SCALING_OF_ALL,
        penalty_scale=pb.PENALTY_SCALE_SUM,
        grid=[pb.GridAxis(name="l1", values=DFR_PENALTIES)],
        select=DFR_TUNING,
    )
    request.MergeFrom(pb.RefitRequest(**replaced))  # pyright: ignore[reportArgumentType]
    return request


def _dfr_train() -> pb.RefitRequest:
    """DFR over penalties and class weights, tuned on another set, which the user gives."""
    request = _dfr(
        repeats=10,
        intercept=pb.INTERCEPT_PENALIZED,
        link=pb.LINK_OVR,
        grid=[pb.GridAxis(name="class_ratio", values=DFR_CLASS_RATIOS)],
    )
    request.select.ClearField("half")
    request.select.scaling.CopyFrom(SCALING_OF_ALL)
    return request


def _afr(gammas: list[float], lambdas: list[float], learning_rate: float, steps: int) -> pb.RefitRequest:
    """The second stage; its lambda |W - W0|^2 is l2 = 2 lambda."""
    return pb.RefitRequest(
        balance=WEIGHTS_OF_CLASSES,
        weights=pb.Weights(kind=pb.WEIGHTS_KIND_CONFIDENCE),
        scaling=NO_SCALING,
        center=STORED_HEAD,
        intercept=pb.INTERCEPT_PENALIZED,
        path=pb.Path(
            optimizer=pb.PATH_OPTIMIZER_GD,
            learning_rate=learning_rate,
            steps=steps,
            clip_norm=1.0,
            keep=pb.PATH_KEEP_BEST,
            start=STORED_HEAD,
        ),
        grid=[
            pb.GridAxis(name="gamma", values=gammas),
            pb.GridAxis(name="l2", values=[2 * value for value in lambdas]),
        ],
        select=pb.Select(metric=pb.SELECT_METRIC_WORST_GROUP, final=pb.SELECT_FINAL_CHOSEN),
    )


def _evenly(first: float, last: float, n: int) -> list[float]:
    return [first + (last - first) * index / (n - 1) for index in range(n)]


def _geometrically(first: float, last: float, n: int) -> list[float]:
    """n numbers from 10^first to 10^last."""
    return [10.0**exponent for exponent in _evenly(first, last, n)]


def _sgd(balance: groups.Balance, path: pb.Path, **more: object) -> pb.RefitRequest:
    request = pb.RefitRequest(balance=balance, scaling=NO_SCALING, path=path)
    request.MergeFrom(pb.RefitRequest(**more))  # pyright: ignore[reportArgumentType]
    return request


def _rad(detector_l1: float, **more: object) -> pb.RefitRequest:
    detector = pb.Path(
        optimizer=pb.PATH_OPTIMIZER_ADAMW, learning_rate=1e-5, weight_decay=1e-3, batch_size=32, epochs=6
    )
    detector.MergeFrom(pb.Path(**more))  # pyright: ignore[reportArgumentType]
    return pb.RefitRequest(
        balance=NO_BALANCE,
        weights=pb.Weights(kind=pb.WEIGHTS_KIND_DETECTED, detector=detector, detector_l1=detector_l1),
        scaling=NO_SCALING,
        penalty_scale=pb.PENALTY_SCALE_SUM,
        intercept=pb.INTERCEPT_PENALIZED,
        link=pb.LINK_OVR,
        grid=[
            pb.GridAxis(name="up", values=[4, 5.5, 8.75, 20, 35]),
            pb.GridAxis(name="l1", values=[1 / c for c in _geometrically(-4, 0, 20)]),
        ],
        select=pb.Select(half=True, metric=pb.SELECT_METRIC_WORST_GROUP, final=pb.SELECT_FINAL_REFIT),
    )


def _self(rows: "pb.RowsKind.ValueType") -> pb.RefitRequest:
    """The head finetuned on the rows it gets wrong, or that heads dispute."""
    return _sgd(
        DRAWS_OF_CLASSES,
        pb.Path(
            optimizer=pb.PATH_OPTIMIZER_SGD,
            steps=250,
            weight_decay=1e-4,
            batch_size=32,
            start=STORED_HEAD,
        ),
        rows=pb.Rows(kind=rows),
        grid=[
            pb.GridAxis(name="top_k", values=[20, 100, 500]),
            pb.GridAxis(name="learning_rate", values=[1e-4, 1e-3, 1e-2]),
        ],
        select=pb.Select(
            half=True, metric=pb.SELECT_METRIC_WORST_GROUP, last_of_equals=True, final=pb.SELECT_FINAL_CHOSEN
        ),
    )


CRT_PATH = pb.Path(
    optimizer=pb.PATH_OPTIMIZER_SGD, learning_rate=1e-3, momentum=0.9, weight_decay=1e-4, batch_size=108, steps=5001
)
L2 = 1e-3
"""L2 strength of penult's own presets: on standardised features the accuracy of DFR and the like is flat around it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Preset:
    """A method that fills in the parts of a refit."""

    sentence: str
    """What the method does, for users."""
    source: str
    """Where it was published; empty for textbook methods."""
    request: pb.RefitRequest
    """The partial request that it fills in."""


PRESETS: Mapping[str, Preset] = {
    "erm": Preset(
        sentence="plain logistic regression, l2 0.001",
        source="",
        request=pb.RefitRequest(balance=NO_BALANCE, l2=L2),
    ),
    "class_balanced": Preset(
        sentence="balanced subsets over classes, 10 draws averaged, l2 0.001",
        source="",
        request=pb.RefitRequest(balance=SUBSETS_OF_CLASSES, repeats=10, l2=L2),
    ),
    "dfr": Preset(
        sentence="deep feature reweighting: l1 of 7 strengths tuned on half of the rows by worst group, then 20 "
        "group-balanced draws of all rows averaged; fit it on held-out rows with groups",
        source=DFR_SOURCE,
        request=_dfr(),
    ),
    "dfr_2022": Preset(
        sentence="dfr by its script's conventions: penalised intercept, one class against the rest, standardised by "
        "the training features, which must be given as `standardize`",
        source=f"{DFR_SOURCE}, its script",
        request=_dfr(scaling=SCALING_OF_A_SET, intercept=pb.INTERCEPT_PENALIZED, link=pb.LINK_OVR),
    ),
    "dfr_2023": Preset(
        sentence="dfr_2022, standardised by all rows given",
        source="Izmailov et al. 2022, arXiv 2210.11369, its script",
        request=_dfr(intercept=pb.INTERCEPT_PENALIZED, link=pb.LINK_OVR),
    ),
    "dfr_l2": Preset(
        sentence="10 group-balanced draws averaged, l2 0.001, nothing tuned",
        source="",
        request=pb.RefitRequest(balance=SUBSETS_OF_GROUPS, repeats=10, l2=L2),
    ),
    # Solved to the optimum: the script stops its tuning fits after 20 steps.
    "dfr_train": Preset(
        sentence='DFR on training rows, 7 strengths and 13 class weights, `select={"on": val}` needed',
        source=f"{DFR_SOURCE}, its script for training rows",
        request=_dfr_train(),
    ),
    "afr": Preset(
        sentence="automatic feature reweighting, stage 2, with the grids of Waterbirds; needs logits or a head with "
        'the features, and `select={"on": val}`',
        source=AFR_SOURCE,
        request=_afr(_evenly(4, 20, 33), [0, 0.1, 0.2, 0.3], 0.01, 500),
    ),
    "afr_celeba": Preset(
        sentence="afr with the grids of CelebA",
        source=AFR_SOURCE,
        request=_afr(_evenly(1, 3, 10), _geometrically(-3, -1, 3), 0.02, 1000),
    ),
    "afr_multinli": Preset(
        sentence="afr with the grids of MultiNLI",
        source=AFR_SOURCE,
        request=_afr(_geometrically(2, 5, 10), _evenly(0, 50, 26), 0.01, 200),
    ),
    "leia": Preset(
        sentence="low-rank correction of the stored head in the leading directions of its error-weighted covariance: 4 "
        'gamma x 4 ranks; needs logits or a head with the features, and `select={"on": val}`; its scripts take 1,000 '
        "steps without a penalty",
        source=LEIA_SOURCE,
        request=pb.RefitRequest(
            balance=NO_BALANCE,
            weights=pb.Weights(kind=pb.WEIGHTS_KIND_CONFIDENCE),
            scaling=NO_SCALING,
            center=STORED_HEAD,
            intercept=pb.INTERCEPT_NONE,
            l2=L2,
            grid=[
                pb.GridAxis(name="gamma", values=[5, 10, 15, 20]),
                pb.GridAxis(name="subspace", values=[1, 5, 10, 20]),
            ],
            select=pb.Select(metric=pb.SELECT_METRIC_WORST_GROUP, final=pb.SELECT_FINAL_CHOSEN),
        ),
    ),
    "lfr": Preset(
        sentence="of each class as many misclassified rows of large loss as correct ones of small loss, 3 sizes tuned "
        "on half of the rows by worst group, then l2 0.001 with classes balanced; fit it on held-out rows. Chosen by a "
        'grouping of method "eiil" (`select={"on": val, "groups": grouping}`) it is EVaLS (arXiv 2410.05345)',
        source="arXiv 2312.04893",
        request=pb.RefitRequest(
            balance=WEIGHTS_OF_CLASSES,
            rows=pb.Rows(kind=pb.ROWS_KIND_LOSS_ENDS),
            l2=L2,
            grid=[pb.GridAxis(name="top_k", values=[20, 100, 500])],
            select=pb.Select(half=True, metric=pb.SELECT_METRIC_WORST_GROUP, final=pb.SELECT_FINAL_REFIT),
        ),
    ),
    "self": Preset(
        sentence="the stored head finetuned on the rows of largest loss",
        source=SELF_SOURCE,
        request=_self(pb.ROWS_KIND_TOP_LOSS),
    ),
    "self_disagreement": Preset(
        sentence="the stored head finetuned on the rows where the logits of another checkpoint (`other`) disagree most",
        source=SELF_SOURCE,
        request=_self(pb.ROWS_KIND_TOP_DISAGREEMENT),
    ),
    # `up` spans the values published for its four datasets. Its 1 / c_sel times the mean of |W| is
    # detector_l1 = 1 / (c_sel C D). From zero the detector errs on the hard rows, not on half of them, after few steps,
    # too.
    "rad": Preset(
        sentence="errors of a weak l1 detector upweighted (regularised annotation of domains); its scripts start the "
        "detector at random and search 20 strengths of it, too (2,000 candidates): this starts it at zero with "
        "detector_l1 0.01 (100 candidates)",
        source=RAD_SOURCE,
        request=_rad(1e-2),
    ),
    # c_sel = 6.16e-4 with 2 classes and 2,048 features.
    "rad_celeba": Preset(
        sentence="rad by the script of CelebA: its strength of the detector, a random start, a cosine schedule",
        source=f"{RAD_SOURCE}, its script of CelebA",
        request=_rad(
            1 / (6.16e-4 * 2 * 2048),
            start=pb.HeadSource(kind=pb.HEAD_KIND_RANDOM),
            schedule=pb.PATH_SCHEDULE_COSINE,
        ),
    ),
    "llr": Preset(
        sentence="last-layer retraining by SGD from zero on class-balanced batches, 100 epochs",
        source=SELF_SOURCE,
        request=_sgd(
            DRAWS_OF_CLASSES,
            pb.Path(optimizer=pb.PATH_OPTIMIZER_SGD, learning_rate=3e-3, weight_decay=1e-4, batch_size=32, epochs=100),
        ),
    ),
    "crt": Preset(
        sentence="last-layer retraining by SGD from zero on group-balanced batches, 5,001 steps",
        source=CRT_SOURCE,
        request=_sgd(DRAWS_OF_GROUPS, CRT_PATH),
    ),
    "reweight_crt": Preset(
        sentence="last-layer retraining by SGD from zero with group weights, 5,001 steps",
        source=CRT_SOURCE,
        request=_sgd(WEIGHTS_OF_GROUPS, CRT_PATH),
    ),
    "group_dro": Preset(
        sentence="the worst group's mean loss, minimised to the saddle point",
        source="Sagawa et al. 2020, arXiv 1911.08731",
        request=pb.RefitRequest(balance=NO_BALANCE, risk=pb.Risk(kind=pb.RISK_KIND_GROUP_DRO), l2=L2),
    ),
    "cvar_dro": Preset(
        sentence="the mean of the largest 10 % of losses, minimised to the saddle point",
        source="Duchi & Namkoong 2021; Levy et al. 2020, arXiv 2010.05893",
        request=pb.RefitRequest(balance=NO_BALANCE, risk=pb.Risk(kind=pb.RISK_KIND_CVAR, alpha=0.1), l2=1e-2),
    ),
    "jtt": Preset(
        sentence="rows that the stored head misclassifies get weight 20 (the authors' code adds 20 copies: 21)",
        source="Liu et al. 2021, arXiv 2107.09044",
        request=pb.RefitRequest(balance=NO_BALANCE, weights=pb.Weights(kind=pb.WEIGHTS_KIND_ERRORS, up=20.0), l2=L2),
    ),
    "eiil": Preset(
        sentence="group DRO over classes x EIIL's environments",
        source="Creager et al. 2021, arXiv 2010.07249",
        request=pb.RefitRequest(
            balance=NO_BALANCE, groups=pb.GROUP_SOURCE_EIIL, risk=pb.Risk(kind=pb.RISK_KIND_GROUP_DRO), l2=L2
        ),
    ),
    "logit_adjusted": Preset(
        sentence="logit adjustment: offsets log p(y)",
        source="Menon et al. 2021, arXiv 2007.07314",
        request=pb.RefitRequest(balance=NO_BALANCE, offset=pb.Offset(kind=pb.OFFSET_KIND_CLASS_PRIOR, tau=1.0), l2=L2),
    ),
    "la_prior": Preset(
        sentence="logit adjustment: offsets log p(y | class the stored head predicts)",
        source="Tsirigotis et al. 2023, arXiv 2306.01180, with the bias of the stored head",
        request=pb.RefitRequest(
            balance=NO_BALANCE, offset=pb.Offset(kind=pb.OFFSET_KIND_PREDICTION_PRIOR, tau=1.0), l2=L2
        ),
    ),
}
