"""The part of the client that retrains last layers and scores heads."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from penult.arguments.coerce import listed, whole
from penult.calls.catalog.heads import looked_up
from penult.calls.methods.presets import Presets, presets, with_presets
from penult.calls.waiting.queries import ask, shown_name, waiting
from penult.connection.rpc import Connection
from penult.errors import PenultError, from_kind
from penult.results.heads import Head, HeadArrays
from penult.results.metrics import Metrics
from penult.results.refits import Interpolation, Refit
from penult.results.soups import soup
from penult.types import (
    BalanceMethod,
    GridName,
    GroupSource,
    Intercept,
    Link,
    MissingGroups,
    OffsetChoice,
    PenaltyScale,
    Preset,
    Risk,
    RowsChoice,
    WeightsChoice,
)
from penult.wire import decode, decode_refits, encode_refits
from penult.wire.references import AnyHeadLike, ByLike, FeatureSetLike, HeadLike, ScalingLike
from penult.wire.refit_arguments import PathArguments, RefitArguments, SelectArguments
from penult_proto.v1 import cards_pb2, refits_pb2


class Refitting:
    """Refits, and metrics of heads."""

    connection: Connection

    @with_presets
    def refit(
        self,
        features: FeatureSetLike,
        *,
        preset: Preset | None = None,
        balance: BalanceMethod | None = None,
        by: ByLike | None = None,
        ratio: float | None = None,
        group_ratio: float | None = None,
        missing_groups: MissingGroups | None = None,
        l1: float | None = None,
        l2: float | None = None,
        penalty: PenaltyScale | None = None,
        center: HeadLike | None = None,
        intercept: Intercept | None = None,
        link: Link | None = None,
        standardize: ScalingLike | None = None,
        repeats: int | None = None,
        weights: WeightsChoice | ArrayLike | None = None,
        gamma: float | None = None,
        up: float | None = None,
        class_ratio: float | None = None,
        detector: PathArguments | None = None,
        detector_l1: float | None = None,
        rows: RowsChoice | ArrayLike | None = None,
        top_k: int | None = None,
        other: FeatureSetLike | None = None,
        offset: OffsetChoice | None = None,
        tau: float | None = None,
        groups: GroupSource | None = None,
        risk: Risk | None = None,
        alpha: float | None = None,
        subspace: int | None = None,
        path: PathArguments | None = None,
        grid: Mapping[GridName, Sequence[float]] | None = None,
        select: SelectArguments | None = None,
        evaluate: Mapping[str, FeatureSetLike] | None = None,
        train: FeatureSetLike | None = None,
        seed: int = 0,
        plan: bool = False,
        tolerance: float | None = None,
        max_iterations: int | None = None,
        across_checkpoints: bool = False,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
        timeout: float = 600.0,
        progress: bool | None = None,
    ) -> Refit:
        """Retrain the last layer on stored features.

            client.refit(sets["val"], preset="dfr_l2", evaluate={"test": sets["test"]}).metrics["test"]
            client.refit(sets["val"], balance="upweighting", by="group", l2=0.01)
            client.refit(sets["train"], grid={"l2": [0.01, 0.1]}, select={"on": sets["val"]}).selection

            minimise over W (C, D), b (C,):
                sum_i s_i CE(W z_i + b + o_i, y_i)  +  l1 |W - W0|_1  +  l2/2 |W - W0|^2,      sum_i s_i = 1

        CE is the cross-entropy in nats, softmax over C classes also when C = 2; the sample weights s_i are the product
        of the balancing's and of `weights`, scaled to sum 1, so the loss is a weighted *mean*; the bias is free (not
        penalised); W0 is the `center` and o_i the `offset`. z_i are standardised features, and the penalties act on
        that standardised problem. The head that is returned acts on raw features: the standardisation is folded in.

        An argument that is None takes the preset's value, or without a preset the value in brackets.

        Parameters
        ----------
        features : the feature set whose rows are fitted.
        preset : a published method; ``.settings`` of the answer shows everything it chose, any argument below replaces
            its part, and `presets` lists what each of them sets.
            [presets]
        balance : ["none"]; "subsetting" keeps as many of each as the smallest has; "upsampling" draws with
            replacement with probability 1/count (on a path: each batch); "upweighting" weighs by 1/count;
            "mixture" caps each at `ratio` times the smallest (rounded down; the authors' code rounds up), then
            upsamples. Needs `by`, and replaces the preset's.
        by : balance over "class" or "group"; or over the groups of a grouping, its digest or its name, which a preset's
            balancing by group and `risk` then use, too. Rows in none of them are not fitted.
        ratio : for "mixture", at least 1.
        group_ratio : with balance= "subsetting", "upsampling" or "upweighting" by group, above 0 and at most 1: in a
            class that has a minority (its smallest group is at most half of every other) the minority is this many
            times as frequent as each other group; classes are equal. 1 balances the groups. A subset has, of each
            class, as many rows as the smallest group times the class's groups (Hill et al. 2026).
        missing_groups : what to do about groups without a row when balancing by group: ["refuse"], or "skip" to balance
            the others. Groups without an example in the whole dataset are always left out. ``.notes`` names the groups
            left out.
        l1, l2 : strengths of the penalties [0.0].
        penalty : ["mean"]: on the scale of the mean loss, l = 1 / (C n) in scikit-learn's terms. "sum": on the scale
            of the sum of losses, l = 1 / C; both dfr and rad use it, and keep a strength's meaning when n changes.
        center : W0 (and b0): ["zero"], "stored" (the head stored with the features), a `Head`, a `Refit` or the name or
            digest of one.
        intercept : ["free"], "penalized" like a weight (about b0), or "none": the bias is b0, zero without a center.
        link : ["softmax"], or "ovr": one binary problem per class. For two classes softmax has the same l1 as the
            usual binary logistic regression, and its l2 counts half. Or "hinge": a support vector machine, sums over
            c /= y of max(0, 1 - (l_y - l_c)), without an intercept [then "none"] or with a penalised one; without an l2
            the head of the largest margin, refused where no head separates the rows. LinearSVC's C is l2 = 2 / (C n).
        standardize : the rows whose mean and standard deviation (divisor n, unweighted) standardise the features: [True
            or "rows": the rows fitted, of each draw separately]; "all": all rows of `features`; another feature set:
            all its rows; False or "none": no standardisation.
        repeats : random draws of the balancing; their heads are averaged [1].
        weights : sample weights, which multiply the balancing's: ["uniform"]; "confidence": exp(-gamma p_i[y_i]) and
            "errors": `up` where the stored logits misclassify, else 1; "detected": `up` where a detector does; or an
            array (N,). Rows of weight 0 are left out of everything: halves, draws and the standardisation of the rows
            fitted.
        gamma, up : numbers of `weights` [0.0, 1.0].
        class_ratio : weight of class 1 relative to class 0 (below 1, class 0 gets the inverse); two classes only [1.0].
        detector, detector_l1 : how the detector is trained, on the same rows: its path, as in `path`, and its l1 [0.0].
            RAD's 1 / c_sel times the mean of |W| is detector_l1 = 1 / (c_sel C D).
        rows : which rows are fitted: ["all"]; the `top_k` with the largest "top_loss" under the stored logits, or
            "top_disagreement" with those of the feature set `other`; the "loss_ends": of each class the `top_k`
            misclassified of largest loss and as many correct of smallest; or an array of row ids. Balancing draws
            among them.
        offset : o_i, which training adds to the logits and prediction leaves out: ["none"], tau log p(y)
            ("class_prior"), tau log p(y | predicted) ("prediction_prior").
        tau : number of `offset` [1.0].
        groups : what "group" means to balancing and group DRO: ["stored"], class x "errors" of the stored logits,
            class x "eiil" environments. Selection (but for its "groups") and metrics always use the stored ones, and
            ``.notes`` says so.
        risk : ["mean"], "group_dro" (largest mean loss of a group) or "cvar" (mean of the fraction `alpha` [0.1] of
            largest losses).
        subspace : the correction W - W0 of the `center` lies in the span of this many leading eigenvectors of the
            covariance of the rows fitted, weighted as they are, of features that are not standardised [None: anywhere].
        path : an early-stopped method instead of the optimum: {"optimizer": "gd" | "sgd" | "adamw", "learning_rate",
            "schedule": "constant" | "cosine" (over epochs, to zero), "steps" or "epochs", "momentum", "weight_decay",
            "clip_norm", "normalize" (True: every step divides the gradient by its norm; gd and sgd), "batch_size",
            "keep": "last" | "best" (by `select`), "start": "zero" (also where there is a center) | "stored" |
            "random" (as torch's new layer, by the seed) | a head, as `center`}.
        grid : values to try for some of the numbers, such as {"l1": [...], "gamma": [...]}; all combinations are
            fitted.
        select : how one candidate is chosen: {"on": "half" (a random half of the rows scores, the other is fitted) or a
            feature set, "metric": "worst_group" | "worst_class" | "average" | "mean_group", "ties": "first" | "last",
            "final": "chosen" | "refit" (again on all rows), "repeats", "standardize" (of the candidates), "groups": a
            grouping whose groups score, in place of the stored ones}. With a preset, what you give replaces that part
            of its selection; the other parts stay.
        evaluate : feature sets to score the head on, by the names that ``.metrics`` gets.
        train : the training set, often `features` itself, whose group counts weight the weighted averages of the sets
            in `evaluate`; see `Client.evaluate`.
        seed : of the random halves, draws, batches and starts [0].
        plan : whether the answer lists the row ids of every draw (``.plan``).
        tolerance : the solver stops when its duality gap is at most tolerance * log(C) [1e-6; under a robust risk
            1e-4]; with no penalty, when its gradient has shrunk by `tolerance`. ``.certificate.head_error`` bounds the
            distance of the head from the optimal one.
        max_iterations : Newton steps per draw at most [100]. A solver that stops short says so in ``.certificate``
            (`converged` is False); nothing is raised.
        across_checkpoints : allow a center, a start, and sets in `standardize`, `select` and `evaluate` that belong to
            another checkpoint; refused by default, since a head is about the features of one checkpoint. (`other` may
            always belong to another: SELF compares two checkpoints.)
        name, tags, note : of the answer, to find it by and for people; no part of the request. A name that another
            answer has moves here, and ``.notes`` says from which. Change them with ``client.results.describe``.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        A feature that is constant on the rows fitted (standard deviation at most 2^-20 of its mean) gets the weight 0
        where features are standardised, and where the bias is free.

        A candidate of a grid that cannot be fitted (more `top_k` than rows, a path that leaves the finite numbers) does
        not fail the others: ``.selection`` has its `failure`.

        Returns
        -------
        Refit : ``.head``, ``.metrics``, ``.certificate``, ``.selection``, ``.plan``, ``.settings``. The same request
            again returns the stored answer. Requests that arrive together are solved together; that changes an
            answer only within its tolerance.

        Raises
        ------
        InvalidRequest : an argument is out of its range, or would have no effect with the others (the message says
            what it goes with); kind ``empty_group`` when a group to balance has no example.
        NotFound : kind ``unknown_feature_set``.
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "timeout", "progress")}
        answer = self.refits([cast("RefitArguments", given)], timeout=timeout, progress=progress)[0]
        if isinstance(answer, PenultError):
            raise answer
        return answer

    def presets(self) -> Presets:
        """The published methods that `refit` knows by name: what each does, its source, and what it sets.

        ``print(client.presets())`` lists them; ``.to_frame()`` makes a table.
        """
        return presets()

    def refits(
        self, requests: Sequence[RefitArguments], *, timeout: float = 600.0, progress: bool | None = None
    ) -> list[Refit | PenultError]:
        """Several refits, solved together where they share a feature set; answers in the order of `requests`.

        Each request is a dictionary of the arguments of `refit`, such as ``{"features": sets["val"], "preset":
        "dfr"}``. A request that cannot be met never fails the others: its place in the answer holds the
        exception that `refit` would have raised. Raises `PenultError` only when the call itself fails. `progress` is
        as for `refit`.
        """
        messages: list[refits_pb2.RefitRequest] = []
        cards: list[cards_pb2.Card] = []
        answers: dict[int, Refit | PenultError] = {}
        sent: list[int] = []
        asked = listed("requests", requests, "[{'features': features, 'preset': 'dfr'}]")
        for index, arguments in enumerate(asked):
            try:
                message, card = encode_refits.named_refit_request(arguments)
                messages.append(message)
                cards.append(card)
                sent.append(index)
            except PenultError as error:
                answers[index] = error
        if messages:
            request = refits_pb2.ComputeRefitsRequest(requests=messages, cards=cards)
            call = self.connection.stubs.refits.ComputeRefits
            with (
                waiting(self.connection, _title(asked), progress) as metadata,
                self.connection.stream(call, request, timeout=timeout, metadata=metadata) as outcomes,
            ):
                for index, outcome in zip(sent, outcomes, strict=True):
                    answers[index] = _refit_or_error(outcome)
        return [answers[index] for index in range(len(asked))]

    def evaluate(
        self,
        head: AnyHeadLike,
        features: FeatureSetLike,
        *,
        class_map: Mapping[str, str] | None = None,
        across_checkpoints: bool = False,
        train: FeatureSetLike | None = None,
        by: ByLike = "group",
        panels: Sequence[str] | str | None = None,
        calibration: FeatureSetLike | None = None,
        timeout: float = 300.0,
        progress: bool | None = None,
    ) -> Metrics:
        """Metrics of a head on a feature set: counts and accuracies by group (with Wilson intervals), class and mask,
        both averages, worst group and class, confusion, AUROC, calibration error, Brier score, log-loss.

        Parameters
        ----------
        head : a refit; a checkpoint, meaning its own finetuned head; the name or the digest of either, or the start of
            one (at least 4 characters); or a `Head` of your own, or its (weight, bias).
        features : what it is scored on. Its classes must be the head's by name, in any order; the answer is in the
            order of `features`. Classes without names are matched by their index, and ``.notes`` says so.
        class_map : where the features' classes have other names, which of them each class of the head stands for,
            such as ``{"cat": "wolf"}``; a class that is left out keeps its name.
        across_checkpoints : score a head on features of another checkpoint than its own; refused by default.
        train : the training set, whose group counts weight ``.weighted_average_accuracy`` in place of the fractions
            stored with `features` (``.train_weights``); groups are matched by their names.
        by : a grouping, its digest or its name, whose groups are scored in place of the stored ones. Rows in none of
            them are left out of all numbers, and counted in ``.grouping``.
        panels : further numbers, in ``.panels`` by name, each with its formula and interval: "subpop" (precision,
            recall, areas by class, attribute value and group; p-values between groups), "wilds" (by mask and class, of
            which the worst), "fairness" (rates by attribute value, differences and ratios, also to all rows and over
            combinations with masks), "unintended_bias" (areas in and outside of identities, which are masks or
            attribute values),
            "calibration" (errors beside those of a calibrated head at that n, temperature), "conformal" (coverage and
            size of 90 % sets), "threshold" (decisions moved by the classes' frequencies, or tuned).
        calibration : for "conformal" and "threshold", a set of other rows, such as the validation split.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : a panel that there is not; calibration rows that are scored; kinds ``other_classes``,
            ``other_checkpoint``, ``wrong_shape``.
        """
        request = encode_refits.evaluate_request(
            looked_up(self.connection, head),
            features,
            class_map=class_map,
            across_checkpoints=across_checkpoints,
            train=train,
            by=by,
            panels=panels,
            calibration=calibration,
        )
        call = self.connection.stubs.refits.Evaluate
        return decode.metrics(
            ask(
                self.connection,
                call,
                request,
                timeout=timeout,
                title=f"evaluation on {shown_name(features)}",
                progress=progress,
            )
        )

    def interpolate(
        self,
        first: AnyHeadLike,
        second: AnyHeadLike,
        features: FeatureSetLike,
        *,
        train: FeatureSetLike | None = None,
        by: ByLike = "group",
        steps: int = 21,
        class_map: Mapping[str, str] | None = None,
        across_checkpoints: bool = False,
        timeout: float = 300.0,
        progress: bool | None = None,
    ) -> Interpolation:
        """Metrics along the line between two heads, ends included; exact, since logits are linear in the head.

        For the mean of several heads: ``client.evaluate(client.soup([refit_a, refit_b]), features)``.

        Parameters
        ----------
        first, second : as in `evaluate`.
        features : what they are scored on.
        train, by : as in `evaluate`.
        steps : points on the line, 2 to 1000.
        class_map, across_checkpoints : as in `evaluate`, for both heads.
        timeout : seconds.
        progress : show how far it is, after a second; None: on a terminal and in a notebook.

        Raises
        ------
        InvalidRequest : kinds ``other_classes``, ``other_checkpoint``, ``wrong_shape``; or `steps` is out of its range.
        """
        t = np.linspace(0.0, 1.0, whole("steps", steps, 2, 1000))
        weights = np.stack([1 - t, t], axis=1)
        request = encode_refits.mixtures_request(
            [looked_up(self.connection, first, "first"), looked_up(self.connection, second, "second")],
            weights,
            features,
            class_map=class_map,
            across_checkpoints=across_checkpoints,
            train=train,
            by=by,
        )
        call = self.connection.stubs.refits.EvaluateMixtures
        answer = ask(
            self.connection,
            call,
            request,
            timeout=timeout,
            title=f"interpolation on {shown_name(features)}",
            progress=progress,
        )
        metrics = tuple(decode.metrics(one) for one in answer.metrics)
        return Interpolation(t=t, metrics=metrics, notes=decode.decode_notes(answer.notes))

    def soup(
        self,
        heads: Sequence[Head | Refit | HeadArrays | str],
        weights: ArrayLike | None = None,
        *,
        across_checkpoints: bool = False,
        timeout: float = 30.0,
    ) -> Head:
        """The mean of several heads, or their mixture: `penult.soup`, whose heads may be named here.

        Parameters
        ----------
        heads : refits, their names or digests, or heads of your own.
        weights, across_checkpoints : as for `penult.soup`.
        timeout : seconds for each name that is looked up.

        Raises
        ------
        InvalidRequest : as `penult.soup`; a name is that of a checkpoint.
        NotFound : nothing has that name.
        """
        given = listed("heads", heads, "['erm', 'dfr']")
        found = [looked_up(self.connection, one, f"heads[{i}]", timeout=timeout) for i, one in enumerate(given)]
        # A checkpoint is refused there, with what to pass instead.
        return soup(cast("list[Head | Refit | HeadArrays]", found), weights, across_checkpoints=across_checkpoints)


def _title(requests: Sequence[RefitArguments]) -> str:
    if len(requests) == 1:
        return f"refit on {shown_name(requests[0].get('features'))}"
    return f"{len(requests)} refits"


def _refit_or_error(outcome: refits_pb2.RefitOutcome) -> Refit | PenultError:
    if outcome.WhichOneof("kind") == "refit":
        return decode_refits.refit(outcome.refit)
    failure = outcome.failure
    return from_kind(failure.kind, failure.message, failure.metadata)
