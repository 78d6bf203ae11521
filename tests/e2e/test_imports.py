"""Models of others: what is read of them, sent twice, at once, and killed. Through TLS: see test_first_day."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from server_processes import until
from torch import nn

import penult
from penult import errors
from penult.calls.files import LocalFile, local_files, send_files
from penult_proto.files import digest_of_files
from penult_proto.v1 import checkpoints_pb2 as pb

NAMES = ["bright", "dark"]
"""The classes of the table in the other order than the dataset's, which is that of a head trained elsewhere."""
SIDE = 16


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    module = timm.create_model("test_resnet", num_classes=2)
    nn.init.normal_(module.get_classifier().weight)
    with torch.no_grad():
        module.train()(torch.randn(8, 3, SIDE, SIDE))
    return module.eval()


def lightning(path: Path, seed: int = 0) -> nn.Module:
    module = network(seed)
    state = {f"model.{name}": one for name, one in module.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state, "hyper_parameters": {"lr": 0.1}, "optimizer_states": []}, path)
    return module


def import_of(client: penult.Client, path: Path, **options: Any) -> Any:
    return client.checkpoints.import_(
        path, **{"backbone": "test_resnet", "classes": NAMES, "image_size": SIDE} | options
    )


def uploads(root: Path) -> list[str]:
    return [path.name for path in (root / "uploads").iterdir()] if (root / "uploads").is_dir() else []


@pytest.fixture(scope="module")
def registered(client, table):
    client.datasets.register("shapes", table)
    return client


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> tuple[nn.Module, Path]:
    """A model and its Lightning file, which several tests import: that is one job."""
    path = tmp_path_factory.mktemp("original") / "erm.ckpt"
    return lightning(path), path


def own_logits(module: nn.Module, table: Path, split: str) -> np.ndarray:
    """The original module's logits of the images of a split, read by hand: as timm's configuration says."""
    config = module.pretrained_cfg
    lines = [line.split(",") for line in table.read_text().splitlines()[1:]]
    pixels = [
        np.asarray(Image.open(table.parent / name), dtype=np.float32) for name, *_, where in lines if where == split
    ]
    scaled = (np.stack(pixels) / 255 - np.array(config["mean"])) / np.array(config["std"])
    with torch.inference_mode():
        return module(torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)).numpy()


def test_an_imported_model_is_its_original(registered, original, table):
    """Logits, head and spectra of a Lightning file without a dataset; the classes are matched by name."""
    client = registered
    module, path = original
    job = import_of(client, path)
    checkpoint = job.wait()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (checkpoint.source, checkpoint.head) == (f"import erm.ckpt sha256:{digest}", "kept")
    assert (checkpoint.dataset, checkpoint.run_id, checkpoint.classes) == ("", "", ("bright", "dark"))
    assert "'state_dict' of erm.ckpt" in str(checkpoint.notes)
    assert client.checkpoints.get(checkpoint.digest) == checkpoint
    until(lambda: uploads(Path(client.info().root)) == [])
    with pytest.raises(errors.InvalidRequest, match=r"belongs to no dataset: .*dataset=\.\.\.; known: .*shapes"):
        client.extract(checkpoint)
    sets = client.extract(checkpoint, dataset="shapes").wait()
    val = client.features.read(sets["val"])
    order = [NAMES.index(name) for name in sets["val"].labels.classes]
    np.testing.assert_allclose(val.logits, own_logits(module, table, "val")[:, order], atol=1e-4)
    np.testing.assert_allclose(val.features @ val.head_weight.T + val.head_bias, val.logits, atol=1e-4)
    assert sum(sets["val"].train_shares) == pytest.approx(1)  # of the dataset that the features are of
    own = client.evaluate(checkpoint, sets["val"])
    np.testing.assert_allclose(own.average_accuracy, (val.logits.argmax(axis=1) == val.y).mean())
    assert client.spectra(sets["train"], replicates=0, top_k=2).eigenvalues.shape == (4, 2)
    by_checkpoint = client.spectra(checkpoint, split="train", replicates=0, top_k=2)
    assert by_checkpoint.eigenvalues.shape == (4, 2)
    refit = client.refit(sets["val"], preset="dfr_l2", evaluate={"test": sets["test"]})
    assert 0 <= refit.metrics["test"].worst_group_accuracy <= 1


def test_the_same_import_again_sends_nothing(registered, original, monkeypatch):
    _, path = original
    job = import_of(registered, path)
    first = job.wait()
    monkeypatch.setattr("penult.calls.checkpoints.send_files", lambda *_, **__: pytest.fail("files were sent again"))
    again = import_of(registered, path)
    assert (again.id, again.wait()) == (job.id, first)
    there = import_of(registered, path, on_server=True).wait()
    assert there.digest == first.digest


def test_what_the_head_is_called_is_part_of_the_checkpoint(registered, original):
    """The same weights with their rows named the other way round are another checkpoint, with other features."""
    _, path = original
    one = import_of(registered, path).wait()
    other = import_of(registered, path, classes=NAMES[::-1]).wait()
    assert (one.digest == other.digest, one.model == other.model) == (False, True)
    first, second = (registered.extract(each, dataset="shapes").wait()["val"] for each in (one, other))
    logits = [registered.features.read(each).logits for each in (first, second)]
    np.testing.assert_array_equal(logits[0], logits[1][:, ::-1])


def test_a_dataset_s_checkpoint_and_a_fresh_head(registered, original):
    _, path = original
    of_dataset = import_of(registered, path, dataset="shapes").wait()
    assert (of_dataset.dataset, of_dataset.classes) == ("shapes", ("bright", "dark"))
    assert set(registered.extract(of_dataset).wait()) == {"train", "val", "test"}
    fresh = import_of(registered, path, dataset="shapes", classes=None, head="new").wait()
    assert (fresh.head, fresh.classes) == ("new", registered.datasets.get("shapes").classes)
    with pytest.raises(errors.InvalidRequest, match="dataset's are") as caught:
        import_of(registered, path, dataset="shapes", classes=None).wait()
    assert "'bright'" in str(caught.value)
    with pytest.raises(errors.InvalidRequest, match=r"knows the classes cat, dog"):
        import_of(registered, path, dataset="shapes", classes=["cat", "dog"]).wait()


def test_what_cannot_be_is_refused_before_a_byte_is_sent(registered, tmp_path):
    lightning(tmp_path / "x.ckpt")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"backbone": None}, "backbone must be given for the file"),
        ({"head": "new", "classes": None}, r"head must be 'keep', or given with classes=\[\.\.\.\] or dataset="),
        ({"classes": ["a", "a"]}, "two names that differ"),
        ({"image_mean": [1.0]}, "image_mean must be three numbers"),
        ({"interpolation": "cubic"}, "interpolation must be one of bicubic"),
        ({"seed": 3}, "seed must be left out with head='keep'"),
        ({"attribute": "ground"}, "left out without dataset="),
        ({"max_tokens": 3}, "max_tokens has no effect"),
        ({"image_resize": 8}, "image_resize must be 0 or at least image_size"),
        ({"on_server": True, "path": "relative.pt"}, "an absolute path on the server's machine"),
        ({"path": str(tmp_path / "nowhere")}, "no such file or directory"),
        ({"path": str(tmp_path)}, "has no config.json"),
    ]
    for options, said in refused:
        place = options.pop("path", tmp_path / "x.ckpt")
        with pytest.raises(errors.InvalidRequest, match=said):
            import_of(registered, place, **options).wait()
    with pytest.raises(errors.PreconditionFailed, match="no such file or directory"):
        import_of(registered, "/nowhere/x.ckpt", on_server=True)
    with pytest.raises(errors.NotFound):
        import_of(registered, tmp_path / "x.ckpt", backbone="no_such_network").wait()
    broken = network().state_dict() | {"conv1.0.weight": torch.full((16, 3, 3, 3), torch.nan)}
    shape = network().state_dict()["conv1.0.weight"].shape
    broken["conv1.0.weight"] = torch.full(shape, torch.nan)
    save_file(broken, tmp_path / "nan.safetensors")
    with pytest.raises(
        errors.InvalidRequest, match=r"values of 'conv1\.0\.weight' in 'nan\.safetensors' are not finite"
    ):
        import_of(registered, tmp_path / "nan.safetensors").wait()
    until(lambda: uploads(Path(registered.info().root)) == [])


def sent(client: penult.Client, header: list[tuple[str, int, str]], *data: bytes) -> pb.UploadedFiles:
    files = [pb.FileHeader(name=name, size=size, sha256=digest) for name, size, digest in header]
    messages = [pb.UploadFilesRequest(header=pb.UploadFilesHeader(files=files))]
    messages += [pb.UploadFilesRequest(data=one) for one in data]
    connection = client.connection
    return connection.upload(connection.stubs.checkpoints.UploadFiles, lambda: iter(messages), timeout=30)


def test_uploads_that_are_not_what_they_say(client):
    content = b"abcdef"
    good = hashlib.sha256(content).hexdigest()
    for name in ("../x", "/etc/x", "a/b", "..", ".hidden", "", "a\\b", "x" * 256, "a\nb", "a\0b"):
        with pytest.raises(errors.InvalidRequest, match="a plain name"):
            sent(client, [(name, 6, good)], content)
    with pytest.raises(errors.InvalidRequest, match="of different names"):
        sent(client, [("a", 6, good), ("A", 6, good)], content, content)
    with pytest.raises(errors.InvalidRequest, match="more than the 100 members"):
        sent(client, [(f"f{index}", 6, good) for index in range(10_000)], content)
    with pytest.raises(errors.InvalidRequest, match="must have 1 to"):
        sent(client, [("a", 2**60, good)], content)
    with pytest.raises(errors.InvalidRequest, match="64 hexadecimal"):
        sent(client, [("a", 6, "../../etc")], content)
    for data, said in (
        ((b"abc",), "3 bytes of 'a' are missing"),
        ((b"abcdxx",), "has the sha256"),
        ((content, b"more"), "4 bytes came after"),
    ):
        with pytest.raises(errors.InvalidRequest, match=said) as caught:
            sent(client, [("a", 6, good)], *data)
        assert caught.value.kind == "incomplete_upload"
    until(lambda: uploads(Path(client.info().root)) == [])
    answer = sent(client, [("b", 6, good), ("a", 6, good)], content[:3], content[3:] + content[:1], content[1:])
    assert (answer.digest, answer.size) == (digest_of_files([("a", good), ("b", good)]), 12)
    place = Path(client.info().root) / "uploads" / answer.digest
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"a": content, "b": content}


def test_a_file_that_changes_while_it_is_sent_is_refused(client, tmp_path):
    (tmp_path / "x").write_bytes(b"before")
    files = local_files("source", str(tmp_path / "x"))
    (tmp_path / "x").write_bytes(b"behind")
    with pytest.raises(errors.InvalidRequest, match="has the sha256"):
        send_files(client.connection, files, timeout=30)
    with pytest.raises(errors.InvalidRequest, match="missing"):
        send_files(client.connection, [LocalFile(tmp_path / "gone", 6, files[0].sha256)], timeout=30)


def test_a_directory_of_timm_is_sent_with_the_names_of_its_classes(registered, tmp_path):
    timm.models.save_for_hf(network(), tmp_path / "model", model_config={"label_names": NAMES}, safe_serialization=True)
    (tmp_path / "model" / "optimizer.pt").write_bytes(b"no")
    (tmp_path / "model" / "events").mkdir()
    checkpoint = registered.checkpoints.import_(tmp_path / "model", image_size=SIDE).wait()
    assert (checkpoint.backbone, checkpoint.classes, checkpoint.head) == ("test_resnet", ("bright", "dark"), "kept")
    run = registered.finetune(dataset="shapes", backbone=tmp_path / "model", epochs=0).wait()
    assert (run.spec.head, run.checkpoints[0].head) == ("keep", "kept")
    assert "was kept, its rows known by name" in str(run.notes)


def test_two_equal_imports_at_once_are_one(registered, tmp_path):
    lightning(tmp_path / "both.ckpt", seed=5)
    root = Path(registered.info().root)
    before = uploads(root)
    jobs: list[Any] = []
    threads = [
        threading.Thread(target=lambda: jobs.append(import_of(registered, tmp_path / "both.ckpt"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job in jobs}) == 1
    assert len({job.wait().digest for job in jobs}) == 1
    until(lambda: uploads(root) == before)


def slowly(files: list[LocalFile], gate: threading.Event) -> Iterator[pb.UploadFilesRequest]:
    """The header and half of the first file; the rest when the gate opens."""
    header = [pb.FileHeader(name=file.path.name, size=file.size, sha256=file.sha256) for file in files]
    yield pb.UploadFilesRequest(header=pb.UploadFilesHeader(files=header))
    yield pb.UploadFilesRequest(data=files[0].path.read_bytes()[: files[0].size // 2])
    gate.wait(60)


def test_a_server_killed_in_an_upload_and_in_an_import(serve, tmp_path):
    """Half an upload leaves nothing; a confirmed one is still there, and its job goes on."""
    root = tmp_path / "store"
    lightning(tmp_path / "erm.ckpt")
    server = serve(root)
    gate = threading.Event()
    files = local_files("source", str(tmp_path / "erm.ckpt"))
    with server.connect() as client:
        stub = client.connection.stubs.checkpoints
        call = stub.UploadFiles.future(slowly(files, gate), metadata=client.connection._metadata)
        until(lambda: any(path.stat().st_size for path in (root / "uploads").glob(".staging-*/*")))
        server.kill()
        gate.set()
        with pytest.raises(grpc.RpcError):
            call.result(100)
    server = serve(root)
    until(lambda: uploads(root) == [])
    with server.connect() as client:
        job = import_of(client, tmp_path / "erm.ckpt")
        server.kill()
    server = serve(root)
    with server.connect() as client:
        checkpoint = client.jobs.get(job.id).wait()
        assert isinstance(checkpoint, penult.Checkpoint)
        assert checkpoint.head == "kept"
        assert client.checkpoints.get(checkpoint.digest) == checkpoint
    until(lambda: uploads(root) == [])


def test_a_client_that_goes_away_in_an_upload_leaves_nothing(client, tmp_path):
    lightning(tmp_path / "erm.ckpt", seed=8)
    root, gate = Path(client.info().root), threading.Event()
    files = local_files("source", str(tmp_path / "erm.ckpt"))
    before = uploads(root)
    call = client.connection.stubs.checkpoints.UploadFiles.future(
        slowly(files, gate), metadata=client.connection._metadata
    )
    until(lambda: any(path.stat().st_size for path in (root / "uploads").glob(".staging-*/*")))
    call.cancel()
    gate.set()
    until(lambda: uploads(root) == before)
