"""Whatever is wrong with a request: a clear error of its own kind, nothing half-registered, the server alive."""

import shutil

import numpy as np
import pytest
from PIL import Image

import penult
from penult_proto import PROTOCOL
from penult_proto.v1 import arrays_pb2, features_pb2


@pytest.fixture(scope="module")
def client(client_alone):
    """All that is stored is counted."""
    return client_alone


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {
        "features": rng.standard_normal((40, 5)).astype(np.float32),
        "y": np.repeat([0, 1], 20),
        "a": np.tile([0, 1], 20),
    }


@pytest.fixture(autouse=True)
def nothing_is_left_behind(client):
    """After every refusal the server answers as before and holds what it held."""

    def holdings():
        return (
            [one.digest for one in client.features.list()],
            [one.name for one in client.datasets.list()],
            [one.id for one in client.runs.list()],
        )

    before = holdings()
    yield
    after = holdings()
    for old, new in zip(before, after, strict=True):
        assert set(old) <= set(new)


def refused(kind: str, *words: str):
    """Expect an error of this kind whose message holds these words."""
    return Refused(kind, words)


class Refused:
    def __init__(self, kind, words):
        self.kind, self.words = kind, words
        self._raises = pytest.raises(penult.PenultError)

    def __enter__(self):
        self._raised = self._raises.__enter__()

    def __exit__(self, *error):
        handled = self._raises.__exit__(*error)
        assert self._raised.value.kind == self.kind, str(self._raised.value)
        for word in self.words:
            assert word in str(self._raised.value)
        return handled


def test_unknown_names_list_the_known_ones(client):
    with refused("unknown_dataset", "footwear"):
        client.finetune(dataset="footwaer", backbone="test_resnet")
    with refused("unknown_feature_set"):
        client.spectra("nothing")
    with refused("unknown_checkpoint"):
        client.extract("0" * 64)
    with refused("unknown_job"):
        client.jobs.get("nothing")
    with refused("unknown_run"):
        client.runs.get("nothing")
    with refused("unknown_split", "train", "val", "test"):
        client.finetune(dataset="footwear", backbone="test_resnet", evaluate=["tset"])
    with refused("attribute_missing", "ground"):
        client.finetune(dataset="footwear", backbone="test_resnet", attribute="floor")


def test_a_backbone_that_no_library_has(client):
    with refused("unknown_backbone", "test_resnet"):
        client.finetune(dataset="footwear", backbone="test_resnett", epochs=0, pretrained=False).wait()


def test_pretrained_weights_that_cannot_be_had(client):
    with refused("weights_unavailable"):
        client.finetune(dataset="footwear", backbone="resnet18", epochs=0).wait()
    with refused("weights_unavailable", "/nowhere/weights.safetensors"):
        client.finetune(dataset="footwear", backbone="test_resnet", weights="/nowhere/weights.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": -1}, ["epochs"]),
        ({"optimizer": penult.SGD(learning_rate=0.0)}, ["optimizer=SGD(learning_rate=...) must be finite"]),
        ({"optimizer": penult.AdamW(learning_rate=float("nan"))}, ["optimizer=AdamW(learning_rate=...)"]),
        ({"batch_size": 0}, ["batch_size"]),
        ({"schedule": penult.Schedule(warmup=1.0)}, ["schedule=Schedule(warmup=...)"]),
        ({"balance": "mixture", "ratio": 0.5}, ["ratio"]),
        ({"balance": "mixture"}, ["ratio must be given"]),
        ({"optimizer": penult.SGD(momentum=1.0)}, ["optimizer=SGD(momentum=...) must be finite and in [0, 1)"]),
        ({"inputs": penult.Texts(max_tokens=9)}, ["inputs=Texts(max_tokens=...) has no effect", "texts"]),
        ({"loss": penult.GroupDRO(), "optimizer": penult.SGD(sam=0.1)}, ["loss must be CrossEntropy()", "GroupDRO"]),
        ({"balance": "undersampling"}, ["subsetting", "mixture"]),
        ({"weights": "/weights.pth"}, ["pretrained", "weights"]),
        ({"inputs": penult.Texts(pooling="max")}, ["model", "mean"]),
    ],
)
def test_settings_out_of_range(client, change, words):
    with refused("invalid_argument", *words):
        client.finetune(dataset="footwear", backbone="test_resnet", pretrained=False, **change)


def test_a_refused_upload_says_why_every_time(client, arrays):
    """Its last messages may still be on their way when the first ones are refused."""
    wrong = arrays["features"].copy()
    wrong[0, 0] = np.nan
    head = penult.Head(weight=np.full((2, 5), np.nan), bias=np.zeros(2))
    for change in ({"features": wrong}, {"head": head}) * 100:
        with refused("not_finite"):
            client.features.upload(**arrays | change)


def test_an_upload_that_goes_on_after_it_was_refused_is_told_why_every_time(client):
    arrays = [arrays_pb2.ArrayHeader(name="y", dtype=4, shape=[100], total_bytes=800)]
    arrays.append(arrays_pb2.ArrayHeader(name="features", dtype=2, shape=[100, 8], total_bytes=3200))
    header = features_pb2.UploadFeaturesRequest(header=features_pb2.UploadHeader(arrays=arrays))
    wrong = features_pb2.UploadFeaturesRequest(chunk=arrays_pb2.ArrayChunk(name="y", offset=8, data=bytes(792)))
    more = features_pb2.UploadFeaturesRequest(chunk=arrays_pb2.ArrayChunk(name="features", data=bytes(2**16)))
    connection, messages = client.connection, lambda: iter([header, wrong, *[more] * 200])
    for _ in range(40):
        with pytest.raises(penult.PenultError) as raised:
            connection.upload(connection.stubs.features.UploadFeatures, messages, timeout=60)
        assert raised.value.kind == "incomplete_upload", raised.value


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"features": np.zeros((40, 5, 1), np.float32)}, "wrong_shape", ["(N, D)"]),
        ({"features": np.zeros((0, 5), np.float32), "y": [], "a": []}, "wrong_shape", []),
        ({"features": np.zeros((40, 5))}, "wrong_dtype", ["float32"]),
        ({"features": np.full((40, 5), np.inf, np.float32)}, "not_finite", ["row 0", "column 0"]),
        ({"y": np.zeros(39, int)}, "wrong_shape", ["y"]),
        ({"y": np.full(40, 0.5)}, "wrong_dtype", ["y"]),
        ({"y": np.repeat([-1, 1], 20)}, "label_out_of_range", ["y"]),
        ({"a": np.repeat([0, 10**9], 20)}, "label_out_of_range", ["a"]),
        ({"y": np.repeat([0, 2], 20), "classes": ["cat", "dog"]}, "label_out_of_range", ["row 20"]),
        ({"a": None, "attribute_values": ["in", "out"]}, "attribute_missing", ["a"]),
        ({"row_id": np.zeros(40, int)}, "invalid_argument", ["unique"]),
        ({"logits": np.zeros((39, 2), np.float32)}, "wrong_shape", ["logits"]),
        ({"name": "../../etc/passwd"}, "invalid_argument", ["name"]),
        ({"head": penult.Head(weight=np.zeros((2, 4)), bias=np.zeros(2))}, "wrong_shape", ["head"]),
        ({"head": penult.Head(weight=np.full((2, 5), np.nan), bias=np.zeros(2))}, "not_finite", ["head.weight"]),
    ],
)
def test_uploads_that_are_not_right(client, arrays, change, kind, words):
    before = client.features.list()
    with refused(kind, *words):
        client.features.upload(**arrays | change)
    assert client.features.list() == before


def test_nan_is_named_by_row_and_column(client, arrays):
    features = arrays["features"].copy()
    features[17, 3] = np.nan
    with refused("not_finite", "row 17", "column 3"):
        client.features.upload(**arrays | {"features": features})


def test_queries_that_make_no_sense(client, arrays):
    mine = client.features.upload(**arrays, name="sensible")
    with refused("invalid_argument", "correction"):
        client.spectra(mine, correction=2)
    with refused("unknown_grouping", "group", "class"):
        client.spectra(mine, by="row")
    with refused("invalid_argument", "dfr"):
        client.refit(mine, preset="drf")
    with refused("invalid_argument", "l2"):
        client.refit(mine, preset="dfr", l2=-1.0)
    with refused("wrong_shape", "(2, 5)"):
        client.evaluate(penult.Head(weight=np.zeros((2, 4)), bias=np.zeros(2)), mine)
    with refused("not_finite", "head"):
        client.evaluate(penult.Head(weight=np.full((2, 5), np.nan), bias=np.zeros(2)), mine)
    other = client.features.upload(**arrays | {"features": arrays["features"][:, :4]})
    with refused("wrong_shape"):
        client.refit(mine, preset="erm", evaluate={"other": other})


def test_an_empty_group_is_named_and_its_spectrum_is_nan(client, arrays):
    some = client.features.upload(**arrays | {"a": arrays["y"]}, classes=["cat", "dog"], attribute_values=["in", "out"])
    with refused("empty_group", "cat, out"):
        client.refit(some, preset="dfr")
    spectra = client.spectra(some, by="group")
    assert np.isnan(spectra.eigenvalues[1]).all()
    assert spectra.groups[1].count == 0
    assert spectra.imbalance == ()
    metrics = client.evaluate(client.refit(some, preset="erm"), some)
    assert np.isnan(metrics.group_accuracy[1]), "empty is not 0"


def test_groups_without_an_attribute(client, arrays):
    plain = client.features.upload(features=arrays["features"], y=arrays["y"])
    with refused("attribute_missing"):
        client.refit(plain, preset="dfr")
    assert client.refit(plain, preset="class_balanced").certificate.converged


@pytest.fixture
def images(table, tmp_path):
    shutil.copytree(table.parent, tmp_path / "images")
    return tmp_path / "images"


def test_a_corrupt_image_is_found_at_registration(client, images):
    (images / "train-0-3.png").write_bytes(b"\x89PNG, or so it says")
    with refused("corrupt_image", "train-0-3.png"):
        client.datasets.register("corrupt", images / "table.csv")
    with refused("unknown_dataset"):
        client.datasets.get("corrupt")


def test_tables_that_are_not_right(client, images, tmp_path):
    with refused("bad_table", "nothing.csv"):
        client.datasets.register("nowhere", tmp_path / "nothing.csv")
    table = images / "table.csv"
    text = table.read_text()
    table.write_text(text.replace("train-0-3.png", "train-0-three.png"))
    with refused("files_missing", "train-0-three.png"):
        client.datasets.register("missing", table)
    table.write_text(text.replace("ground", "split2").replace(",split", ",sp1it"))
    with refused("bad_table", "split"):
        client.datasets.register("no-split", table)
    table.write_text(text)
    with refused("name_taken"):
        client.datasets.register("footwear", table)
    with refused("invalid_argument", "name"):
        client.datasets.register("Foot Wear", table)


def test_files_that_vanish_or_change_after_registration(client, images, tiny):
    client.datasets.register("vanishing", images / "table.csv")
    registered = (images / "train-0-0.png").read_bytes()
    other = np.zeros((16, 16, 3), np.uint8)
    Image.fromarray(other).save(images / "train-0-0.png")
    with refused("dataset_changed", "train-0-0.png"):
        client.finetune(dataset="vanishing", epochs=1, **tiny).wait()
    (images / "train-0-0.png").write_bytes(registered)
    (images / "val-0-0.png").unlink()
    with refused("files_missing", "val-0-0.png"):
        client.finetune(dataset="vanishing", epochs=1, seed=1, **tiny).wait()


def test_a_name_belongs_to_one_content(client, images):
    client.datasets.register("named", images / "table.csv")
    client.datasets.register("named", images / "table.csv")
    lines = (images / "table.csv").read_text().splitlines()
    (images / "table.csv").write_text("\n".join(lines[:-1]) + "\n")
    with refused("name_taken", "named"):
        client.datasets.register("named", images / "table.csv")


def test_another_protocol_is_refused_on_both_sides(serve, monkeypatch):
    server = serve()
    monkeypatch.setattr("penult.connection.rpc.PROTOCOL", 99)
    with refused("version_mismatch", "99", str(PROTOCOL)):
        server.connect()


def test_a_wrong_token_and_a_wrong_address(serve):
    server = serve()
    with refused("unauthenticated", "token"):
        server.connect(token="guess")
    address = server.record["address"]
    server.stop()
    with refused("unreachable", address):
        penult.connect(address, token="any", timeout=1)


def test_a_full_queue_says_so_and_the_server_goes_on(serve, table, tiny):
    server = serve(None, "--max-queued-jobs", "1")
    with server.connect() as client:
        client.datasets.register("shapes", table)
        running = client.finetune(dataset="shapes", epochs=200, **tiny)
        jobs = [running]
        with refused("queue_full"):
            jobs.extend(client.finetune(dataset="shapes", epochs=200, seed=seed, **tiny) for seed in range(1, 4))
        for job in jobs:
            job.cancel()
        for job in jobs:
            with refused("cancelled"):
                job.wait()
        assert client.info().n_feature_sets == 0


def test_a_root_has_one_server(serve):
    server = serve()
    with pytest.raises(AssertionError, match="store_locked"):
        serve(server.root)


def test_an_open_address_needs_tls_or_a_word(serve, tmp_path):
    with pytest.raises(AssertionError, match="--tls-cert"):
        serve(tmp_path / "open", "--host", "0.0.0.0")
