"""What an answer must hold, whatever was asked; `check_` and the name of an RPC is called with request and answer."""

import json
import math
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from penult.connection import rpc
from penult.wire import arrays
from penult_proto.arrays import from_bytes
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2, info_pb2, refits_pb2, spectra_pb2

if TYPE_CHECKING:
    from fuzzed_server import FuzzedServer

NO_REFUSALS = (ErrorKind.INTERNAL, ErrorKind.WORKER_DIED, ErrorKind.UNREACHABLE, ErrorKind.DEADLINE_EXCEEDED)


def refusal(error: grpc.RpcError) -> str:
    """The kind of a refusal. Raises AssertionError for one that is none."""
    said = rpc.translate(error, "the server")
    assert said.kind not in NO_REFUSALS, f"{error.code().name} {said.kind}: {said}"
    return said.kind


def check_repeated(first: Any, second: Any) -> None:
    """The same question has the same answer, but for where it came from."""
    for one, two in zip(*([x] if isinstance(x, Message) else x for x in (first, second)), strict=True):
        assert _without_reused(one) == _without_reused(two)


def _without_reused(message: Message) -> bytes:
    copy = type(message)()
    copy.CopyFrom(message)
    _clear_reused(copy)
    if isinstance(copy, info_pb2.Info):  # jobs that go on meanwhile store more
        for name in ("n_feature_sets", "n_checkpoints", "n_results", "n_groupings"):
            copy.ClearField(name)
    return copy.SerializeToString(deterministic=True)


def _clear_reused(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name == "reused" and field.type == field.TYPE_BOOL:
            message.ClearField("reused")
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                _clear_reused(one)


def check_ComputeSpectra(request: Any, answer: Any, server: "FuzzedServer") -> None:
    values, trace = arrays.decode(answer.eigenvalues), arrays.decode(answer.trace)
    check_spectrum(values, trace, is_whole=values.shape[1] == _width(server, answer.feature_set))
    assert answer.center == (not request.HasField("center") or request.center)
    assert answer.correction == request.correction
    for one in answer.imbalance:
        for p in (one.p_value, one.p_adjusted):
            assert math.isnan(p) or 0 <= p <= 1
        assert not one.low > one.high
        assert not one.ratio < 0
    known = {digest: name for name, digest in server.digests.items()}.get(answer.feature_set)
    if known is not None and not answer.weights:
        _check_against_numpy(request, answer, values, server.arrays[known])


def _check_against_numpy(request: Any, answer: Any, values: NDArray[Any], given: dict[str, Any]) -> None:
    """Eigenvalues of each group's covariance, from the rows as they were uploaded."""
    features, y = given["features"].astype(float), np.asarray(given["y"])
    a = np.asarray(given.get("a", np.zeros(len(y), int)))
    rows = request.source.rows
    wanted = np.ones(len(y), bool)
    if rows.WhichOneof("kind") == "row_ids":
        wanted = np.isin(np.arange(len(y)), arrays.decode(rows.row_ids))
    part = y if answer.by == spectra_pb2.SPECTRA_BY_CLASS else y * (a.max() + 1) + a
    for group, found in zip(answer.groups, values, strict=True):
        one = features[wanted & (part == group.index)]
        assert group.count == len(one)
        if len(one) > answer.correction:
            centered = one - one.mean(axis=0) * answer.center
            expected = np.linalg.eigvalsh(centered.T @ centered / (len(one) - answer.correction))[::-1]
            np.testing.assert_allclose(found, expected[: len(found)], atol=1e-5 * (1 + expected[0]))
        else:
            assert np.isnan(found).all()


def check_spectrum(values: NDArray[Any], trace: NDArray[Any], *, is_whole: bool) -> None:
    """(G, K) eigenvalues and their (G,) sums; a group has all numbers or none."""
    assert values.shape[0] == len(trace)
    for row, total in zip(values, trace, strict=True):
        assert np.isfinite(row).all() or np.isnan(row).all()
        if np.isfinite(row).all():
            assert (row >= -1e-6 * max(total, 0)).all()
            assert (np.diff(row) <= 0).all()
            assert row.sum() <= total * (1 + 1e-6) + 1e-12
            if is_whole:
                np.testing.assert_allclose(row.sum(), total, rtol=1e-6, atol=1e-12)


def _width(server: "FuzzedServer", digest: str) -> int:
    return server.client.features.get(digest).n_features


def check_ComputeRunSpectra(request: Any, answer: Any, server: "FuzzedServer") -> None:
    """Every checkpoint's own spectra."""
    assert [one.checkpoint for one in answer.epochs] == [one.digest for one in server.run.checkpoints]
    assert len({one.spectra.feature_set for one in answer.epochs}) == len(answer.epochs)
    for one in answer.epochs:
        values, trace = arrays.decode(one.spectra.eigenvalues), arrays.decode(one.spectra.trace)
        check_spectrum(values, trace, is_whole=False)


def check_ComputeDescriptors(request: Any, answer: Any, server: "FuzzedServer") -> None:
    for one in answer.descriptors:
        assert len(arrays.decode(one.values)) == len(answer.groups)
    ratio = arrays.decode(answer.descriptors[0].values)
    assert (np.isnan(ratio) | ((ratio >= 1 - 1e-9) & (ratio <= _width(server, answer.feature_set) + 1e-6))).all()
    for share in answer.variance_shares:
        assert math.isnan(share.value) or -1e-9 <= share.value <= 1 + 1e-9


def check_ComputePrincipalAngles(request: Any, answer: Any, server: "FuzzedServer") -> None:
    angles = arrays.decode(answer.angles)
    assert angles.shape == (request.top_k,)
    assert ((angles >= 0) & (angles <= math.pi / 2 + 1e-12)).all()
    assert (np.diff(angles) >= 0).all()


def check_ReadNeighbours(request: Any, answer: Any, server: "FuzzedServer") -> None:
    found = check_pieces(answer)
    ids, distance = found["row_id"], found["distance"]
    assert ids.shape == distance.shape == (len(found["query_id"]), answer[0].header.query.k)
    is_there = ~np.isnan(distance)
    assert ((ids == np.uint64(2**64 - 1)) == ~is_there).all()
    assert (np.diff(np.where(is_there, distance, np.inf), axis=1, prepend=-np.inf)[is_there] >= 0).all()
    assert answer[0].header.n_short == (~is_there[:, -1]).sum()


def check_EvaluateNeighbours(request: Any, answer: Any, server: "FuzzedServer") -> None:
    assert [one.k for one in answer.by_k] == sorted({one.k for one in answer.by_k})
    for one in answer.by_k:
        assert sum(one.metrics.correct) <= sum(group.count for group in one.metrics.groups)
        assert one.metrics.loss >= 0


def check_FindDuplicates(request: Any, answer: Any, server: "FuzzedServer") -> None:
    pairs, distances = arrays.decode(answer.pairs), arrays.decode(answer.distances)
    assert pairs.shape == (len(distances), 2)
    assert (np.diff(distances) >= 0).all()
    assert len(arrays.decode(answer.components)) == answer.n_pairs
    assert 0 <= answer.n_exact <= answer.n_pairs
    assert math.isnan(answer.p_value) or 0 < answer.p_value <= 1


def check_FindLabelNoise(request: Any, answer: Any, server: "FuzzedServer") -> None:
    flagged, minority = arrays.decode(answer.flagged), arrays.decode(answer.minority)
    assert not (flagged & minority).any()
    assert (np.diff(arrays.decode(answer.suspicion)) <= 0).all()
    assert sum(one.count for one in answer.flagged_groups) <= flagged.sum()


def check_ComputeNeighbourRates(request: Any, answer: Any, server: "FuzzedServer") -> None:
    for one in (*answer.groups, answer.overall):
        for share in (one.same_class, one.expected_class, *one.same_attribute, *one.expected_attribute):
            assert math.isnan(share) or 0 <= share <= 1


def check_Diagnose(request: Any, answer: Any, server: "FuzzedServer") -> None:
    ids = [one.id for one in answer.definitions]
    assert len(set(ids)) == len(ids)
    assert {one.id for one in answer.values} <= set(ids)
    for one in answer.values:
        assert math.isfinite(one.value) or one.note, f"{one.id} is not defined, and nothing says why"
        assert not one.low > one.high
        assert all(0 <= part < len(answer.groups) or not answer.groups for part in one.parts)


def check_ComputeInfluence(request: Any, answer: Any, server: "FuzzedServer") -> None:
    change, rows = arrays.decode(answer.change), arrays.decode(answer.row_ids)
    assert change.shape == (rows.size, len(answer.groups))
    for place, group in enumerate(answer.groups):
        assert np.isfinite(change[:, place]).all() == bool(group.count)
    assert np.unique(rows).size == rows.size
    assert answer.counterfactual.converged or not answer.HasField("counterfactual")


def check_WatchQuery(request: Any, answer: Any, server: "FuzzedServer") -> list[str]:
    assert answer == [], "no query in progress has a name that is made up"
    return ["ended"]


def check_ReadEigenvectors(request: Any, answer: Any, server: "FuzzedServer") -> None:
    found = check_pieces(answer)
    values, vectors = found["eigenvalues"], found["eigenvectors"]
    assert values.shape == (len(answer[0].header.groups), request.top_k)
    for one in vectors:
        if np.isfinite(one).all():
            np.testing.assert_allclose(one @ one.T, np.eye(len(one)), atol=1e-6)


def check_ReadCoordinates(request: Any, answer: Any, server: "FuzzedServer") -> None:
    found = check_pieces(answer)
    assert found["coordinates"].shape == (len(found["row_id"]), answer[0].header.request.top_k)
    assert np.isfinite(found["coordinates"]).all()


def check_ReadExamples(request: Any, answer: Any, server: "FuzzedServer") -> None:
    assert [one.row_id for one in answer] == arrays.decode(request.row_ids).tolist()


def check_ReadFeatures(request: Any, answer: Any, server: "FuzzedServer") -> None:
    found = check_pieces(answer)
    name = {digest: name for name, digest in server.digests.items()}.get(answer[0].header.feature_set.digest)
    for key in {"features", "y"} & set(found) if name is not None else ():
        np.testing.assert_array_equal(found[key], server.arrays[name][key])


def check_ReadCheckpoint(request: Any, answer: Any, server: "FuzzedServer") -> None:
    header = answer[0].header
    assert header.checkpoint.digest.startswith(request.digest)
    content: dict[str, bytes] = {}
    for message in answer[1:]:
        before = content.get(message.chunk.name, b"")
        assert message.chunk.offset == len(before)
        content[message.chunk.name] = before + message.chunk.data
    tensors = json.loads(header.weights_header[8:])
    assert sum(map(len, content.values())) == max(one["data_offsets"][1] for one in tensors.values())


def check_pieces(messages: list[Any]) -> dict[str, NDArray[Any]]:
    """The arrays that a stream announced, complete and in order."""
    content: dict[str, bytes] = {header.name: b"" for header in messages[0].header.arrays}
    assert len(content) == len(messages[0].header.arrays)
    for message in messages[1:]:
        assert message.chunk.offset == len(content[message.chunk.name])
        content[message.chunk.name] += message.chunk.data
    return {
        one.name: from_bytes(content[one.name], one.dtype, list(one.shape), one.name)
        for one in messages[0].header.arrays
    }


def check_ComputeRefits(request: Any, answer: Any, server: "FuzzedServer") -> list[str]:
    assert len(answer) == len(request.requests)
    for one in answer:
        if one.HasField("failure"):
            assert one.failure.kind not in NO_REFUSALS, one.failure.message
        else:
            check_refit(one.refit)
    return [one.failure.kind or "fitted" for one in answer]


def check_refit(refit: refits_pb2.Refit) -> None:
    weight, bias = arrays.decode(refit.head.weight), arrays.decode(refit.head.bias)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    asked, certificate = refit.request, refit.certificate
    if certificate.converged and not asked.HasField("path"):
        assert -1e-12 <= certificate.gap < math.inf, certificate
        assert math.isfinite(certificate.objective)
        # Without l2 a small gradient is what ends a fit; of a grid, l2 is a candidate's.
        if asked.l2 > 0 and not asked.grid:
            assert certificate.gap <= asked.tolerance * math.log(max(len(bias), 2)) * (1 + 1e-9) + 1e-12, certificate
    for metrics in refit.metrics.values():
        check_metrics(metrics)


def check_metrics(metrics: groups_pb2.Metrics) -> None:
    """Shares of rows lie in [0, 1] or are NaN where nothing was counted; counts fit."""
    names = ("average_accuracy", "worst_group_accuracy", "worst_class_accuracy", "balanced_accuracy", "ece", "auroc")
    shares = [getattr(metrics, name) for name in (*names, "mean_group_accuracy", "weighted_average_accuracy")]
    for share in [*shares, *metrics.group_accuracy, *(one.accuracy for one in metrics.masks)]:
        assert math.isnan(share) or -1e-9 <= share <= 1 + 1e-9
    assert all(correct <= one.count for correct, one in zip(metrics.correct, metrics.groups, strict=True))
    assert sum(metrics.confusion) == sum(one.count for one in metrics.groups)
    assert metrics.loss >= 0
    assert math.isfinite(metrics.average_accuracy)


def check_Evaluate(request: Any, answer: Any, server: "FuzzedServer") -> None:
    check_metrics(answer)
    sets = server.digests | {digest: digest for digest in server.digests.values()}
    digest = sets.get(request.feature_set)
    if request.WhichOneof("head") == "explicit" and digest is not None:
        name = next(name for name, one in server.digests.items() if one == digest)
        given, head = server.arrays[name], request.explicit
        weight, bias = (arrays.decode(one).astype(float) for one in (head.weight, head.bias))
        logits = np.sort(given["features"].astype(float) @ weight.T + bias, axis=1)
        if (logits[:, -1] - logits[:, -2] > 1e-4 * np.abs(logits).max()).all():
            predicted = np.argmax(given["features"].astype(float) @ weight.T + bias, axis=1)
            np.testing.assert_allclose(answer.average_accuracy, np.mean(predicted == given["y"]))


def check_EvaluateMixtures(request: Any, answer: Any, server: "FuzzedServer") -> None:
    assert len(answer.metrics) == request.shares.shape[0]
    for one in answer.metrics:
        check_metrics(one)


def check_SoupHeads(request: Any, answer: Any, server: "FuzzedServer") -> None:
    check_metrics(answer.metrics)
    assert len(answer.leave_one_out_loss.shape) in (0, 2)


def check_UploadFeatures(request: Any, answer: Any, server: "FuzzedServer") -> None:
    shape = request[0].header.arrays[-1].shape
    assert [answer.n_examples, answer.n_features] == list(shape)
    assert sum(group.count for group in answer.groups) == answer.n_examples


def check_CreateJob(request: Any, answer: Any, server: "FuzzedServer") -> None:
    assert answer.spec.WhichOneof("kind") == request.spec.WhichOneof("kind")


def check_ListJobs(request: Any, answer: Any, server: "FuzzedServer") -> None:
    assert all(not request.states or one.state in request.states for one in answer.jobs)


def check_Delete(request: Any, answer: Any, server: "FuzzedServer") -> list[str]:
    assert answer.goes[0].kind == request.kind
    assert answer.goes[0].reason.startswith("asked for")
    assert answer.dry_run == request.dry_run
    assert request.dry_run or not answer.in_the_way
    ids = [(one.kind, one.id) for one in [*answer.goes, *answer.in_the_way]]
    assert len(set(ids)) == len(ids)
    return ["looked at" if request.dry_run else "deleted"]


def check_GetUsage(request: Any, answer: Any, server: "FuzzedServer") -> None:
    assert sum(one.bytes for one in answer.kinds) == answer.bytes
    # A job that was drawn may have made its run before it was cancelled.
    assert {one.run for one in answer.runs} <= {server.run.id, *(job.id for job in server.client.jobs.list())}
    of_runs = sum(one.checkpoint_bytes for one in answer.runs)
    assert of_runs == next(one.bytes for one in answer.kinds if one.kind == "checkpoints") > 0
