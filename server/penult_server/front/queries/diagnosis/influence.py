"""Requests for influence: the stored refit put in place, defaults filled in, and refits without an optimum refused."""

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, refits_pb2, spectra_pb2
from penult_proto.v1 import influence_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.questions.refit_scalars import candidate_at

TOP_K = 10
MOST_REMOVED = 10_000
MOST_VERIFIED = 64


def fill_in(request: pb.InfluenceRequest, refit: refits_pb2.Refit, source: features_pb2.FeatureSet) -> None:
    """In place. Raises ServiceError (INVALID_ARGUMENT)."""
    _check_refit(refit)
    request.refit = refit.digest
    fitted = pb.FittedRefit(request=refit.request, head=refit.head, chosen=refit.chosen)
    request.fitted.CopyFrom(fitted)
    request.fitted.request.evaluate.clear()
    request.fitted.request.train = ""
    request.by = request.by or spectra_pb2.SPECTRA_BY_GROUP
    if request.by not in spectra_pb2.SpectraBy.values():
        raise _refused("by", f"must be 'group', 'class' or 'all'; got number {request.by}")
    if request.source.grouping and request.by != spectra_pb2.SPECTRA_BY_GROUP:
        raise _refused("by", "names a grouping, which makes groups: ask by group, or leave the grouping out")
    request.top_k = request.top_k if request.HasField("top_k") else TOP_K
    for name, value, most in (("top_k", request.top_k, MOST_REMOVED), ("verify", request.verify, MOST_VERIFIED)):
        if not 0 <= value <= most:
            raise _refused(name, f"must be 0 (none) .. {most}, got {value}")
    if request.target and not request.top_k:
        raise _refused("target", "is the group that the counterfactual is about, and top_k=0 asks for none")


def _check_refit(refit: refits_pb2.Refit) -> None:
    """Only an optimum of a mean of losses has a Newton step that leaves out a row."""
    request = refit.request
    if request.HasField("path"):
        raise _refused("refit", "stopped along a path, so that its head is no optimum: refit without path=, with an l2")
    if request.link == refits_pb2.LINK_HINGE:
        raise _refused("refit", "minimises hinge losses, which have no curvature: use one with link='softmax' or 'ovr'")
    if request.risk.kind not in (refits_pb2.RISK_KIND_UNSPECIFIED, refits_pb2.RISK_KIND_MEAN):
        raise _refused("refit", "minimises the risk of a group or of a tail, in which one row moves the weights of all "
                       "others: use one of the mean loss, such as preset='dfr_l2'")  # fmt: skip
    if request.HasField("subspace"):
        raise _refused("refit", "lies in a subspace that its own rows span: use one without subspace=")
    if request.weights.kind == refits_pb2.WEIGHTS_KIND_DETECTED:
        raise _refused("refit", "weighs rows by a detector that was fitted on them, too: use one without")
    if not refit.certificate.converged:
        raise _refused(
            "refit",
            f"stopped {refit.certificate.gap:.2g} above its optimum, and an influence is that of an optimum: refit "
            "with more max_iterations",
        )
    if not _has_penalty(request, refit.chosen):
        raise _refused("refit", "has no penalty, so that its optimum may not be one point: refit with an l2")


def _has_penalty(request: refits_pb2.RefitRequest, chosen: int) -> bool:
    candidate = candidate_at(request, chosen)
    return candidate.l1 > 0 or candidate.l2 > 0


def _refused(argument: str, why: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{argument} {why}", field=argument)
