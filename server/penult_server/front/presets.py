"""Refit presets: what each of them fills in. Methods are data here; the one solver knows none of them.

A preset is a request with the fields that make the method; what a request says itself takes their place. Numbers
are those of the methods' reference implementations (named beside each) where they have any.
"""

from penult_proto.v1 import groups_pb2 as groups
from penult_proto.v1 import refits_pb2 as pb

SUBSETS_OF_GROUPS = groups.Balance(method=groups.BALANCE_METHOD_SUBSETTING, by=groups.BALANCE_BY_GROUP)
SUBSETS_OF_CLASSES = groups.Balance(method=groups.BALANCE_METHOD_SUBSETTING, by=groups.BALANCE_BY_CLASS)
DRAWS_OF_CLASSES = groups.Balance(method=groups.BALANCE_METHOD_UPSAMPLING, by=groups.BALANCE_BY_CLASS)
DRAWS_OF_GROUPS = groups.Balance(method=groups.BALANCE_METHOD_UPSAMPLING, by=groups.BALANCE_BY_GROUP)
WEIGHTS_OF_CLASSES = groups.Balance(method=groups.BALANCE_METHOD_UPWEIGHTING, by=groups.BALANCE_BY_CLASS)
WEIGHTS_OF_GROUPS = groups.Balance(method=groups.BALANCE_METHOD_UPWEIGHTING, by=groups.BALANCE_BY_GROUP)
NO_BALANCE = groups.Balance(method=groups.BALANCE_METHOD_NONE)

NO_SCALING = pb.Scaling(kind=pb.SCALING_KIND_NONE)
SCALING_OF_ROWS = pb.Scaling(kind=pb.SCALING_KIND_ROWS)
SCALING_OF_ALL = pb.Scaling(kind=pb.SCALING_KIND_ALL)
SCALING_OF_A_SET = pb.Scaling(kind=pb.SCALING_KIND_SET)
STORED_HEAD = pb.HeadSource(kind=pb.HEAD_KIND_STORED)

DFR_PENALTIES = [1 / c for c in (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)]
"""1 / C of the DFR scripts, in their order: ties go to the first."""
DFR_CLASS_RATIOS = [1.0, *(float(w) for w in (2, 3, 10, 100, 300, 1000)), *(1 / w for w in (2, 3, 10, 100, 300, 1000))]
"""Weights of class 1 beside class 0 in the DFR script's order: ties go to the first."""
DFR_TUNING = pb.Select(
    half=True,
    metric=pb.SELECT_METRIC_WORST_GROUP,
    final=pb.SELECT_FINAL_REFIT,
    repeats=1,
    scaling=SCALING_OF_ROWS,
)


def _dfr(**replaced: object) -> pb.RefitRequest:
    """Kirichenko et al. 2022 (arXiv 2204.02937): L1, tuned on half of the rows, 20 balanced draws averaged."""
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


def _afr(gammas: list[float], lambdas: list[float], learning_rate: float, steps: int) -> pb.RefitRequest:
    """Qiu et al. 2023 (arXiv 2306.11074), stage 2; their lambda |W - W0|^2 is l2 = 2 lambda."""
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
    """LaBonte et al. 2023 (arXiv 2309.08534): the head finetuned on the rows it gets wrong, or that heads dispute."""
    return _sgd(
        DRAWS_OF_CLASSES,
        pb.Path(
            optimizer=pb.PATH_OPTIMIZER_SGD,
            learning_rate=1e-3,
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


# subpopulation benchmark's recipe for images (Yang et al. 2023, arXiv 2302.12254): a fresh head, 5,001 steps.
CRT_PATH = pb.Path(
    optimizer=pb.PATH_OPTIMIZER_SGD, learning_rate=1e-3, momentum=0.9, weight_decay=1e-4, batch_size=108, steps=5001
)
L2 = 1e-3
"""Strength of our own presets: DFR, class balancing and the like are flat around it on standardised features."""

PRESETS: dict[str, pb.RefitRequest] = {
    "": pb.RefitRequest(),
    "erm": pb.RefitRequest(balance=NO_BALANCE, l2=L2),
    "class_balanced": pb.RefitRequest(balance=SUBSETS_OF_CLASSES, repeats=10, l2=L2),
    "dfr": _dfr(),
    # The DFR scripts' conventions: liblinear's penalised intercept, one class against the rest.
    "dfr_2022": _dfr(scaling=SCALING_OF_A_SET, intercept=pb.INTERCEPT_PENALIZED, link=pb.LINK_OVR),
    # Izmailov et al. 2022 (arXiv 2210.11369): the same with the scaler of the rows given.
    "dfr_2023": _dfr(intercept=pb.INTERCEPT_PENALIZED, link=pb.LINK_OVR),
    "dfr_l2": pb.RefitRequest(balance=SUBSETS_OF_GROUPS, repeats=10, l2=L2),
    # DFR on training rows, tuned over penalties and class weights on a set with groups. Solved to the optimum: the
    # script stops its tuning fits after 20 steps.
    "dfr_train": _dfr(
        repeats=10,
        intercept=pb.INTERCEPT_PENALIZED,
        link=pb.LINK_OVR,
        grid=[
            pb.GridAxis(
                name="class_ratio", values=DFR_CLASS_RATIOS
            )
        ],
    ),
    "afr": _afr(_evenly(4, 20, 33), [0, 0.1, 0.2, 0.3], 0.01, 500),
    "afr_celeba": _afr(_evenly(1, 3, 10), _geometrically(-3, -1, 3), 0.02, 1000),
    "afr_multinli": _afr(_geometrically(2, 5, 10), _evenly(0, 50, 26), 0.01, 200),
    "self": _self(pb.ROWS_KIND_TOP_LOSS),
    "self_disagreement": _self(pb.ROWS_KIND_TOP_DISAGREEMENT),
    # Regularised annotation of domains (arXiv 2402.11039): a weak detector's errors are upweighted. `up` spans the
    # values published for its four datasets. Its 1 / c_sel times the mean of |W| is detector_l1 = 1 / (c_sel C D). The
    # scripts' detector begins at random; from zero it errs on the hard rows, not on half of them, after few steps, too.
    "rad": _rad(1e-2),
    # The script of CelebA: c_sel = 6.16e-4 with 2 classes and 2,048 features, a random start, a cosine schedule.
    "rad_celeba": _rad(
        1 / (6.16e-4 * 2 * 2048),
        start=pb.HeadSource(kind=pb.HEAD_KIND_RANDOM),
        schedule=pb.PATH_SCHEDULE_COSINE,
    ),
    # LaBonte et al. 2023: a fresh head, 100 epochs of class-balanced batches at the rate of the finetuning.
    "llr": _sgd(
        DRAWS_OF_CLASSES,
        pb.Path(
            optimizer=pb.PATH_OPTIMIZER_SGD, learning_rate=3e-3, weight_decay=1e-4, batch_size=32, epochs=100
        ),
    ),
    "crt": _sgd(DRAWS_OF_GROUPS, CRT_PATH),
    "reweight_crt": _sgd(WEIGHTS_OF_GROUPS, CRT_PATH),
    # Sagawa et al. 2020 (arXiv 1911.08731), to the saddle point of the last layer.
    "group_dro": pb.RefitRequest(balance=NO_BALANCE, risk=pb.Risk(kind=pb.RISK_KIND_GROUP_DRO), l2=L2),
    # Duchi & Namkoong 2021; Levy et al. 2020 (arXiv 2010.05893).
    "cvar_dro": pb.RefitRequest(balance=NO_BALANCE, risk=pb.Risk(kind=pb.RISK_KIND_CVAR, alpha=0.1), l2=1e-2),
    # Liu et al. 2021 (arXiv 2107.09044): the stored head's errors count `up` times.
    "jtt": pb.RefitRequest(
        balance=NO_BALANCE, weights=pb.Weights(kind=pb.WEIGHTS_KIND_ERRORS, up=20.0), l2=L2
    ),
    # Creager et al. 2021 (arXiv 2010.07249): group DRO over classes and inferred environments.
    "eiil": pb.RefitRequest(
        balance=NO_BALANCE, groups=pb.GROUP_SOURCE_EIIL, risk=pb.Risk(kind=pb.RISK_KIND_GROUP_DRO), l2=L2
    ),
    # Menon et al. 2021 (arXiv 2007.07314).
    "logit_adjusted": pb.RefitRequest(
        balance=NO_BALANCE, offset=pb.Offset(kind=pb.OFFSET_KIND_CLASS_PRIOR, tau=1.0), l2=L2
    ),
    # Tsirigotis et al. 2023 (arXiv 2306.01180), with the bias of the stored head.
    "la_prior": pb.RefitRequest(
        balance=NO_BALANCE, offset=pb.Offset(kind=pb.OFFSET_KIND_PREDICTION_PRIOR, tau=1.0), l2=L2
    ),
}  # fmt: skip
PRESETS["dfr_train"].select.CopyFrom(
    pb.Select(metric=pb.SELECT_METRIC_WORST_GROUP, final=pb.SELECT_FINAL_REFIT, repeats=1, scaling=SCALING_OF_ALL)
)

DEFAULTS = pb.RefitRequest(
    balance=groups.Balance(
        method=groups.BALANCE_METHOD_NONE,
        missing_groups=groups.MISSING_GROUPS_REFUSE,
    ),
    l1=0.0,
    l2=0.0,
    repeats=1,
    penalty_scale=pb.PENALTY_SCALE_MEAN,
    center=pb.HeadSource(kind=pb.HEAD_KIND_ZERO),
    intercept=pb.INTERCEPT_FREE,
    link=pb.LINK_SOFTMAX,
    scaling=SCALING_OF_ROWS,
    weights=pb.Weights(kind=pb.WEIGHTS_KIND_UNIFORM, gamma=0.0, up=1.0, class_ratio=1.0, detector_l1=0.0),
    rows=pb.Rows(kind=pb.ROWS_KIND_ALL),
    offset=pb.Offset(kind=pb.OFFSET_KIND_NONE, tau=1.0),
    groups=pb.GROUP_SOURCE_STORED,
    risk=pb.Risk(kind=pb.RISK_KIND_MEAN, alpha=0.1),
    max_iterations=100,
)
TOLERANCE, ROBUST_TOLERANCE = 1e-6, 1e-4
"""Of means: Newton's last steps, which are nearly free, leave logits some hundredths from the optimum's where 1e-4 left
tenths. Of robust risks, whose rounds are not."""
PATH_DEFAULTS = pb.Path(
    momentum=0.0,
    weight_decay=0.0,
    clip_norm=0.0,
    batch_size=0,
    keep=pb.PATH_KEEP_LAST,
    start=pb.HeadSource(kind=pb.HEAD_KIND_ZERO),
    schedule=pb.PATH_SCHEDULE_CONSTANT,
)
SELECT_DEFAULTS = pb.Select(
    metric=pb.SELECT_METRIC_WORST_GROUP, last_of_equals=False, final=pb.SELECT_FINAL_CHOSEN
)  # fmt: skip
