"""Messages that the client would not send: each is refused by its own kind, and nothing in them is ignored."""

import grpc
import numpy as np
import pytest

import penult
from penult.connection import rpc
from penult.wire import arrays
from penult_proto.arrays import wire_dtype
from penult_proto.v1 import arrays_pb2, features_pb2, jobs_pb2, refits_pb2, runs_pb2, spectra_pb2


@pytest.fixture(scope="module")
def client(client_alone):
    """Its jobs are counted."""
    return client_alone


@pytest.fixture(scope="module")
def mine(client):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 4)).astype(np.float32)
    return client.features.upload(features=features, y=np.repeat([0, 1], 20), a=np.tile([0, 1], 20), name="mine")


@pytest.fixture
def ask(client):
    """Send a message over a stub; the error's kind when it is refused."""

    def send(service: str, method: str, request):
        try:
            call = getattr(getattr(client.connection.stubs, service), method)
            answer = call(request, metadata=client.connection._metadata, timeout=60)
            return answer if not isinstance(answer, grpc.Call) else list(answer)
        except grpc.RpcError as error:
            return rpc.translate(error, "the server").kind

    return send


def spectra(**fields):
    return spectra_pb2.ComputeSpectraRequest(**{"source": {"feature_set": "mine"}, "replicates": 0, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": 0},
        {"top_k": -1},
        {"confidence": 0.0},
        {"by": 77},
        {"source": {"feature_set": "mine", "checkpoint": "0" * 64, "split": "train"}},
        {"source": {"feature_set": "mine", "split": "train"}},
        {"source": {"feature_set": "mine", "rows": {}}},
    ],
)
def test_zero_is_not_left_out_and_nothing_is_ignored(mine, ask, fields):
    assert ask("spectra", "ComputeSpectra", spectra(**fields)) == "invalid_argument"


def test_what_is_left_out_has_its_default(mine, ask):
    answer = ask("spectra", "ComputeSpectra", spectra(replicates=5))
    assert answer.confidence == 0.95
    assert list(answer.eigenvalues.shape) == [4, 4]


def test_a_power_law_from_rank_zero_is_refused(mine, ask):
    request = spectra_pb2.ComputeDescriptorsRequest(source={"feature_set": "mine"}, power_law_first=0)
    assert ask("spectra", "ComputeDescriptors", request) == "invalid_argument"


def test_spectra_of_a_run_take_no_other_features(mine, ask):
    request = spectra_pb2.ComputeRunSpectraRequest(run="any", split="train", spectra=spectra())
    assert ask("spectra", "ComputeRunSpectra", request) == "invalid_argument"


def test_a_part_of_many_digits_is_no_part(mine, ask):
    sides = [{"source": {"feature_set": "mine"}, "part": part} for part in ("0", "9" * 5000)]
    request = spectra_pb2.ComputePrincipalAnglesRequest(first=sides[0], second=sides[1], top_k=1)
    assert ask("spectra", "ComputePrincipalAngles", request) == "invalid_argument"


def test_more_eigenvalues_than_a_message_carries_are_refused_at_once(client, ask):
    y = np.arange(3000)
    rng = np.random.default_rng(0)
    many = client.features.upload(features=rng.standard_normal((3000, 1500)).astype(np.float16), y=y)
    whole = spectra(source={"feature_set": many.digest})
    assert ask("spectra", "ComputeSpectra", whole) == "invalid_argument"
    assert list(ask("spectra", "ComputeSpectra", spectra(source=whole.source, top_k=2)).eigenvalues.shape) == [3000, 2]


def test_directions_without_variance_have_no_angles(client, ask):
    features = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    features[:, 1], features[:, 2], features[10:] = 1e4, features[:, 0], 3.0
    flat = client.features.upload(features=features, y=np.arange(20) // 10)
    for part, top_k, is_answered in (("0", 2, True), ("0", 3, False), ("1", 1, False)):
        side = {"source": {"feature_set": flat.digest}, "part": part}
        request = spectra_pb2.ComputePrincipalAnglesRequest(first=side, second=side, top_k=top_k)
        answer = ask("spectra", "ComputePrincipalAngles", request)
        assert (answer != "invalid_argument") == is_answered
        if is_answered:
            np.testing.assert_allclose(arrays.decode(answer.angles), 0, atol=1e-7)


def test_a_name_that_is_the_start_of_another_digest(client, mine, ask):
    start = mine.digest[:12]
    with pytest.raises(penult.InvalidRequest, match="must not look like a digest"):
        client.features.upload(features=np.eye(4, dtype=np.float32), y=[0, 1, 0, 1], name=start)
    get = features_pb2.GetFeatureSetRequest
    assert ask("features", "GetFeatureSet", get(feature_set=start)).digest == mine.digest
    assert ask("features", "GetFeatureSet", get(feature_set=mine.digest[:13])).digest == mine.digest


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ({"classes": ["cat", "cat"]}, "invalid_argument"),
        ({"classes": ["cat", ""]}, "invalid_argument"),
        ({"attribute": "ground"}, "attribute_missing"),
    ],
)
def test_names_of_labels_that_name_nothing(ask, labels, kind):
    y, features = np.arange(4) % 2, np.eye(4, dtype=np.float32)
    header = features_pb2.UploadHeader(labels=labels)
    messages = [features_pb2.UploadFeaturesRequest(header=header)]
    for name, array in (("y", y), ("features", features)):
        header = messages[0].header
        header.arrays.add(name=name, dtype=wire_dtype(array.dtype), shape=array.shape, total_bytes=array.nbytes)
        chunk = arrays_pb2.ArrayChunk(name=name, data=array.tobytes())
        messages.append(features_pb2.UploadFeaturesRequest(chunk=chunk))
    assert ask("features", "UploadFeatures", iter(messages)) == kind


def test_a_split_is_named_once(ask):
    spec = runs_pb2.FinetuneSpec(dataset="footwear", evaluate=["val", "val"])
    request = jobs_pb2.CreateJobRequest(spec=jobs_pb2.JobSpec(finetune=spec))
    assert ask("jobs", "CreateJob", request) == "invalid_argument"


def test_jobs_of_unknown_states_and_no_jobs(ask):
    assert ask("jobs", "ListJobs", jobs_pb2.ListJobsRequest(states=[77])) == "invalid_argument"
    for limit in (0, -1):
        assert ask("jobs", "ListJobs", jobs_pb2.ListJobsRequest(limit=limit)) == "invalid_argument"
    assert len(ask("jobs", "ListJobs", jobs_pb2.ListJobsRequest()).jobs) == 0


def test_the_manifest_of_no_run(ask):
    assert ask("runs", "GetRunManifest", runs_pb2.GetRunRequest(id="../x")) == "unknown_run"


def test_an_array_is_read_once(mine, ask):
    request = features_pb2.ReadFeaturesRequest(feature_set="mine", arrays=["y", "y"])
    assert ask("features", "ReadFeatures", request) == "invalid_argument"


def test_a_head_whose_logits_overflow_predicts_nothing(mine, ask):
    head = refits_pb2.Head(weight=arrays.encode(np.full((2, 4), 1.7e308)), bias=arrays.encode(np.zeros(2)))
    request = refits_pb2.EvaluateRequest(explicit=head, feature_set="mine")
    assert ask("refits", "Evaluate", request) == "not_finite"
    small = refits_pb2.Head(weight=arrays.encode(np.eye(2, 4)), bias=arrays.encode(np.zeros(2)))
    mixture = refits_pb2.EvaluateMixturesRequest(
        heads=[{"explicit": small}], shares=arrays.encode(np.array([[1.7e308]])), feature_set="mine"
    )
    assert ask("refits", "EvaluateMixtures", mixture) == "not_finite"


@pytest.mark.parametrize("more", [b"\0", b"\0" * 8, b"\0" * 4096])
def test_pieces_longer_than_announced(ask, more):
    y, features = np.arange(6) % 2, np.eye(6, 3, dtype=np.float32)
    header = features_pb2.UploadHeader()
    for name, array in (("y", y), ("features", features)):
        header.arrays.add(name=name, dtype=wire_dtype(array.dtype), shape=array.shape, total_bytes=array.nbytes)
    for longer in ("y", "features"):
        messages = [features_pb2.UploadFeaturesRequest(header=header)]
        for name, array in (("y", y), ("features", features)):
            data = array.tobytes() + (more if name == longer else b"")
            messages.append(features_pb2.UploadFeaturesRequest(chunk=arrays_pb2.ArrayChunk(name=name, data=data)))
        assert ask("features", "UploadFeatures", iter(messages)) == "incomplete_upload"


def test_bytes_that_are_no_message(client):
    header = features_pb2.UploadHeader()
    for name, dtype, shape in (("y", arrays_pb2.DTYPE_INT64, [4]), ("features", arrays_pb2.DTYPE_FLOAT32, [4, 8])):
        header.arrays.add(name=name, dtype=dtype, shape=shape, total_bytes=32 * len(shape) ** 2)
    begun = features_pb2.UploadFeaturesRequest(header=header).SerializeToString()
    with grpc.insecure_channel(client.connection.address, [("grpc.enable_http_proxy", 0)]) as channel:
        get = channel.unary_unary("/penult.v1.JobService/GetJob")
        watch = channel.unary_stream("/penult.v1.JobService/WatchJob")
        upload = channel.stream_unary("/penult.v1.FeatureService/UploadFeatures")
        for ask in (
            lambda **how: get(b"\xff", **how),
            lambda **how: list(watch(b"\xff", **how)),
            lambda **how: upload(iter([b"\xff"]), **how),
            lambda **how: upload(iter([begun, b"\xff"]), **how),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                ask(metadata=client.connection._metadata, timeout=60)
            assert rpc.translate(raised.value, "the server").kind == "invalid_argument"


def test_a_message_that_is_too_large(client):
    request = jobs_pb2.GetJobRequest(id="x" * (64 * 2**20 + 1))
    with pytest.raises(penult.InvalidRequest, match="larger than max"):
        client.connection.unary(client.connection.stubs.jobs.GetJob, request, timeout=60)
