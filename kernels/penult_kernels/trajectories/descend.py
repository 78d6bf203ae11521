"""The exact trajectory of early-stopped methods (AFR, SELF, classifier retraining), for many settings at once.

One step of gradient descent on F (see `linear.problem`) from theta_0, the problem's start:

    g = dF(theta_t)  [+ weight_decay * theta_t]        g <- g min(1, clip_norm / (|g| + 1e-6)), or g / |g|
    GD, SGD   v_t = momentum v_{t-1} + g  (v_0 = g, as in torch),    theta_{t+1} = theta_t - learning_rate v_t
    ADAMW     theta_{t+1} = (1 - learning_rate weight_decay) theta_t - learning_rate m_hat / (sqrt(v_hat) + 1e-8)

A schedule multiplies learning_rate in every epoch, also in the decay of ADAMW. The clip comes after the penalty's
gradient and before weight decay, as torch's clip_grad_norm_ does. The l1 penalty enters by its subgradient,
sign(V - V0) with sign(0) = 0. A minibatch of m rows estimates the loss by (1/m) sum n s_i CE_i, which is unbiased when
rows are drawn uniformly.

Steps are those of the problem as it is solved: on standardised features where it is standardised, on
the bias too unless the intercept is NONE. The two rows of a softmax of two classes move oppositely, so that one column
is enough and halves the work: with d = V_1 - V_0 the step in d is twice that of a row, and the norm of both rows is
sqrt(2) times that of one. If that symmetry is broken (a start that is not symmetric, weight decay about a center), both
columns are computed.
"""

from collections.abc import Callable, Iterator, Sequence

from array_api_compat import array_namespace

from penult_kernels import budget
from penult_kernels.arrays import Array, fits_float32
from penult_kernels.linear.blocks.blocks import Preparation
from penult_kernels.linear.problem import Link, Problem
from penult_kernels.trajectories.members import Member
from penult_kernels.trajectories.minibatches import stream_key
from penult_kernels.trajectories.run import TrajectoryRun
from penult_kernels.trajectories.settings import Keep, Trajectory, TrajectorySettings, Watch

ARRAYS_OF_ROWS = 6
"""Numbers of each row, fitted or watched, and each column that a run has in memory: logits, losses and scores."""
SYMMETRIC = 1e-12
"""Relative size of the mean of two rows below which they count as opposite."""


def descend(
    features: Array,
    y: Array | None,
    n_classes: int,
    problems: Sequence[Problem],
    settings: Sequence[TrajectorySettings],
    *,
    watch: Watch | Sequence[Watch | None] | None = None,
    check: Callable[[], None] | None = None,
    is_wanted: Callable[[int], bool] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trajectory]:
    """Compute the trajectory of every problem; those with equal rows and scaling share every product.

    Parameters
    ----------
    features, y, n_classes, problems
        As in `linear.solve.solve`. A problem without a start begins at its center, or at zero.
    settings : sequence of TrajectorySettings
        One per problem.
    watch : Watch, or a sequence of one (or None) per problem, optional
        Scores the iterates after every step; Keep.BEST needs it. Problems with the same watch are scored in one call.
    check : callable, optional
        Called before every step; what it raises ends the descent.
    is_wanted : callable, optional
        Called every few steps: whether the problem at a position is still wanted. One that is not stops at its
        iterate.
    report : callable
        Called after every step with how many are taken, and how many there are, of all groups of problems that step
        together.

    Raises
    ------
    ValueError
        When something is not as described.

    Returns
    -------
    list of Trajectory
        In the order of the problems; one that left the finite numbers says so (`diverged`).
    """
    if len(settings) != len(problems):
        raise ValueError(f"every problem needs settings: {len(problems)} problems, {len(settings)} settings")
    watches = [watch] * len(problems) if watch is None or isinstance(watch, Watch) else list(watch)
    if len(watches) != len(problems):
        raise ValueError(f"one watch, or one for each problem: {len(problems)} problems, {len(watches)} watches")
    if any(one.keep is Keep.BEST and seen is None for one, seen in zip(settings, watches, strict=True)):
        raise ValueError("keeping the best iterate needs a score: watch some rows")
    preparation = Preparation(features, y, n_classes, check=check, for_trajectories=True)
    alike: dict[tuple[object, ...], tuple[Watch | None, list[Member]]] = {}
    for index, (problem, one, seen) in enumerate(zip(problems, settings, watches, strict=True)):
        parts = list(preparation.blocks_of(index, problem, reduce=_is_symmetric(preparation, problem, one)))
        shape = (parts[0].n_columns, len(parts))
        space = (parts[0].rows_id, parts[0].scaling_id, seen)
        same = (*space, shape, one.optimizer, one.batch_size, one.schedule, one.steps, one.normalize)
        member = Member(index=index, problem=problem, settings=one, parts=parts)
        alike.setdefault(same, (seen, []))[1].append(member)
    found: dict[int, Trajectory] = {}
    runs = [(seen, run) for seen, members in alike.values() for run in _runs(members, features, seen)]
    lengths = [streams[0][0].settings.steps for _, streams in runs]
    for number, (seen, streams) in enumerate(runs):

        def taken(step: int, before: int = sum(lengths[:number])) -> None:
            report(before + step, sum(lengths))

        found.update(TrajectoryRun(preparation, streams, seen).follow(check, is_wanted, taken))
    return [found[index] for index in range(len(problems))]


def _runs(members: Sequence[Member], features: Array, watch: Watch | None) -> Iterator[list[list[Member]]]:
    """Members by stream of minibatches; streams of equally many trajectories run together, within the budget."""
    streams: dict[tuple[object, ...], list[Member]] = {}
    for member in members:
        streams.setdefault(stream_key(member.settings), []).append(member)
    first = members[0]
    at_a_time = 8 * int(features.shape[1]) * (first.settings.batch_size or 1)
    n_rows = first.parts[0].n_used + (0 if watch is None else watch.features.shape[0])
    of_member = ARRAYS_OF_ROWS * (4 if fits_float32(features) else 8) * first.n_columns * n_rows
    most = max(1, budget.of(features).batch_bytes // of_member)
    by_size: dict[int, list[list[Member]]] = {}
    for stream in streams.values():
        for begin in range(0, len(stream), most):
            part = stream[begin : begin + most]
            by_size.setdefault(len(part), []).append(part)
    for size, equal in by_size.items():
        together = max(1, min(budget.DEFAULT.minibatches_bytes // at_a_time, most // size))
        for begin in range(0, len(equal), together):
            yield equal[begin : begin + together]


def _is_symmetric(preparation: Preparation, problem: Problem, settings: TrajectorySettings) -> bool:
    """Whether the two rows of a softmax of two classes stay opposite along the trajectory."""
    if preparation.n_classes > 2 or problem.link is Link.OVR:
        return True
    if settings.weight_decay > 0 and problem.center is not None:
        return False
    xp = array_namespace(preparation.features)
    start = preparation.start(problem)
    if start is None:
        return True
    return float(xp.max(xp.abs(start[0, :] + start[1, :]))) <= SYMMETRIC * float(xp.max(xp.abs(start)))
