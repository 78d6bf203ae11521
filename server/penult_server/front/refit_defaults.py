"""What a refit takes where neither the request nor its preset says anything."""

from penult_proto.v1 import groups_pb2 as groups
from penult_proto.v1 import refits_pb2 as pb
from penult_server.front.refit_numbers import NUMBERS
from penult_server.refit_scalars import write_scalar

DEFAULTS = pb.RefitRequest(
    balance=groups.Balance(
        method=groups.BALANCE_METHOD_NONE,
        missing_groups=groups.MISSING_GROUPS_REFUSE,
    ),
    repeats=1,
    penalty_scale=pb.PENALTY_SCALE_MEAN,
    center=pb.HeadSource(kind=pb.HEAD_KIND_ZERO),
    intercept=pb.INTERCEPT_FREE,
    link=pb.LINK_SOFTMAX,
    scaling=pb.Scaling(kind=pb.SCALING_KIND_ROWS),
    weights=pb.Weights(kind=pb.WEIGHTS_KIND_UNIFORM),
    rows=pb.Rows(kind=pb.ROWS_KIND_ALL),
    offset=pb.Offset(kind=pb.OFFSET_KIND_NONE),
    groups=pb.GROUP_SOURCE_STORED,
    risk=pb.Risk(kind=pb.RISK_KIND_MEAN),
    max_iterations=100,
)
for _name, _number in NUMBERS.items():
    if _number.default is not None:
        write_scalar(DEFAULTS, _name, _number.default)
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
