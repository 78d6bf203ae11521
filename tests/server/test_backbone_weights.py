"""Weights from local files and directories; nothing is asked of a network, and no code beside weights is run."""

import json
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import timm
import torch
from backbone_directories import write_config, write_decoder, write_text_model
from numpy.testing import assert_allclose
from safetensors.torch import save_file
from torch import Tensor

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import library_of, weights_identity
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, load_checkpoint, save_checkpoint
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig

CPU = torch.device("cpu")
ORIGIN = Origin(
    run_id="run-1", dataset="data", dataset_digest="a" * 64, attribute="a", classes=("x", "y"), train_shares=(1.0, 0.0)
)
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is off, and whoever opens a connection all the same fails."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def other_weights(n_classes: int = 7) -> State:
    """Of a test_resnet with another head, from another seed."""
    return load_backbone("test_resnet", n_classes, pretrained=False, seed=9, image_size=32).module.state_dict()


def load(path: Path) -> Classifier:
    return load_backbone("test_resnet", 2, pretrained=True, seed=0, image_size=32, weights=str(path))


def write(path: Path, state: State) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def kept(state: State, classifier: Classifier) -> bool:
    """Whether all weights below the head are those of `state`."""
    own = classifier.module.state_dict()
    return all(torch.equal(own[name], tensor) for name, tensor in state.items() if not name.startswith("fc."))


@pytest.mark.parametrize("file", ["weights.safetensors", "weights.pth", "weights.bin"])
def test_a_file_of_timm_weights(tmp_path: Path, file: str) -> None:
    state = other_weights()
    path = write(tmp_path / file, state)
    classifier = load(path)
    assert kept(state, classifier)
    assert classifier.n_classes == 2
    identity = weights_identity("test_resnet", True, str(path))
    assert identity.startswith("file ")
    write(path, {name: tensor + 1 for name, tensor in state.items()})
    assert weights_identity("test_resnet", True, str(path)) != identity


def test_files_of_training_programs(tmp_path: Path) -> None:
    """Weights within other things, with a wrapper's prefix, without head and counters."""
    state = other_weights()
    given = {f"module.{name}": tensor for name, tensor in state.items() if "num_batches" not in name}
    torch.save({"epoch": 3, "state_dict": {k: v for k, v in given.items() if "fc." not in k}}, tmp_path / "run.pth")
    classifier = load(tmp_path / "run.pth")
    assert kept({name: tensor for name, tensor in state.items() if "num_batches" not in name}, classifier)


def test_position_embeddings_follow_the_image_size(tmp_path: Path) -> None:
    state = load_backbone("test_vit", 5, pretrained=False, seed=1, image_size=64).module.state_dict()
    path = write(tmp_path / "vit.safetensors", state)
    smaller = load_backbone(
        "test_vit", 2, pretrained=True, seed=0, image_size=32, weights=str(path)
    ).module.state_dict()
    assert smaller["pos_embed"].shape[1] < state["pos_embed"].shape[1]
    assert torch.equal(smaller["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])


def without(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("layer1.0.conv")}


def reshaped(state: State) -> State:
    return state | {"conv1.0.weight": state["conv1.0.weight"][:, :, :1].clone()}


def with_more(state: State) -> State:
    return state | {f"decoder.{index}": torch.ones(1) for index in range(5)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without, r"tensors are missing \(layer1\.0\.conv1\.weight, layer1\.0\.conv2\.weight"),
        (reshaped, r"1 tensors have another shape \(conv1\.0\.weight \(.*1, 3\) instead of \(.*3, 3\)\)"),
        (with_more, r"5 tensors are unexpected \(decoder\.0, decoder\.1, decoder\.2, \.\.\.\)"),
    ],
)
def test_weights_of_another_architecture_are_refused(
    tmp_path: Path, change: Callable[[State], State], said: str
) -> None:
    path = write(tmp_path / "weights.safetensors", change(other_weights()))
    with pytest.raises(ServiceError, match=said) as caught:
        load(path)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


class Payload:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    contents = {
        "text.pth": b"not weights",
        "text.safetensors": b"not weights",
        "empty.pth": b"",
        "pickle.pth": pickle.dumps({"weights": Payload(tmp_path / "run")}, protocol=2),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"state_dict": {"fc.weight": Payload(tmp_path / "run")}}, tmp_path / "payload.pth")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    torch.save({"fc.weight": "one"}, tmp_path / "words.pth")
    for name in (*contents, "payload.pth", "list.pth", "words.pth", "missing.pth"):
        with pytest.raises(ServiceError, match=f"cannot be read from .*{name}.*give a safetensors file") as caught:
            load(tmp_path / name)
        assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE
    assert not (tmp_path / "run").exists()
    with pytest.raises(ServiceError, match="cannot be read from"):
        weights_identity("test_resnet", True, str(tmp_path / "missing.pth"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "resnet.pth"}, "weights must be an absolute path"),
        ({"weights": "/resnet.pth", "pretrained": False}, "pretrained must be true with weights"),
        ({"weights": "/bert.pth", "backbone": "bert-base-uncased"}, "name its directory"),
        ({"pooling": "max"}, r"inputs=Texts\(pooling=...\) must be one of model, mean"),
    ],
)
def test_a_request_for_weights_that_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        FinetuneConfig(**({"backbone": "test_resnet", "epochs": 1} | changes))  # pyright: ignore[reportArgumentType]


def timm_directory(path: Path) -> State:
    """A directory as timm saves one, for the hub or beside it."""
    state = other_weights()
    save_file(state, path / "model.safetensors")
    config = timm.create_model("test_resnet", num_classes=7).pretrained_cfg
    described = {
        name: config[name] for name in ("mean", "std", "input_size", "interpolation", "first_conv", "classifier")
    }
    content = {"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": described | {"mean": [0.1, 0.2, 0.3]}}
    (path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return state


def test_a_directory_of_timm(tmp_path: Path) -> None:
    source, store = tmp_path / "model", tmp_path / "store"
    source.mkdir()
    state = timm_directory(source)
    name = str(source)
    assert library_of(name) == "timm"
    classifier = load_backbone(name, 2, pretrained=True, seed=0, image_size=32)
    assert kept(state, classifier)
    assert "mean=(0.1, 0.2, 0.3)" in classifier.preprocessing_id
    # Its checkpoint needs the directory no more.
    manifest = save_checkpoint(store, classifier, ORIGIN, epoch=0, checked_on=probe_of(classifier))
    for file in source.iterdir():
        file.unlink()
    loaded = load_checkpoint(store, manifest.digest, CPU)
    assert torch.equal(features_of(loaded), features_of(classifier))
    (source / "config.json").write_text('{"architecture": "resnet5000"}', encoding="utf-8")
    with pytest.raises(ServiceError, match="resnet50") as caught:
        load_backbone(name, 2, pretrained=True, seed=0)
    assert caught.value.kind is ErrorKind.UNKNOWN_BACKBONE
    (source / "config.json").write_text('{"architecture": "test_resnet"}', encoding="utf-8")
    with pytest.raises(ServiceError, match=r"it holds none of model\.safetensors") as caught:
        load_backbone(name, 2, pretrained=True, seed=0)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE
    (source / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ServiceError, match="must hold a JSON object"):
        library_of(name)


def probe_of(classifier: Classifier) -> Tensor | dict[str, Tensor]:
    return classifier.preprocessing.to_batch(classifier.preprocessing.probe(), CPU)


@torch.inference_mode()
def features_of(classifier: Classifier) -> Tensor:
    classifier.module.eval()
    return classifier.forward_with_features(probe_of(classifier))[0]


@pytest.mark.parametrize("damage", ["none", "nonsense"])
def test_a_directory_of_transformers_without_weights(tmp_path: Path, damage: str) -> None:
    name = write_text_model(tmp_path, "bert")
    if damage == "nonsense":
        (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ServiceError, match="cannot be read from") as caught:
        load_backbone(name, 2, pretrained=True, seed=0, max_tokens=8)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


def test_only_the_head_may_have_another_shape(tmp_path: Path) -> None:
    """Seven classes become two; embeddings of another width are refused by name."""
    name = write_text_model(tmp_path, "bert")
    saved = load_backbone(name, 7, pretrained=False, seed=3, max_tokens=8).module
    saved.save_pretrained(tmp_path)  # pyright: ignore[reportCallIssue]
    own = load_backbone(name, 2, pretrained=True, seed=0, max_tokens=8).module.state_dict()
    expected = saved.state_dict()
    assert all(torch.equal(own[key], expected[key]) for key in own if not key.startswith("classifier."))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 64}), encoding="utf-8")
    with pytest.raises(ServiceError, match=r"1 tensors below the head .*position_embeddings\.weight") as caught:
        load_backbone(name, 2, pretrained=True, seed=0, max_tokens=8)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


@pytest.mark.parametrize(
    "name",
    [
        "convnextv2_atto.fcmae_ft_in1k",
        "timm/resnet18.a1_in1k",
        "google/bert_uncased_L-2_H-128_A-2",
        "microsoft/swin-tiny-patch4-window7-224",
        "sentence-transformers/all-MiniLM-L6-v2",
    ],
)
def test_offline_a_hub_name_fails_at_once_and_asks_nobody(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ServiceError, match=r"switched off or does not answer.*pretrained=False") as caught:
        load_backbone(name, 2, pretrained=True, seed=0)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


def own_code(path: Path, kind: str) -> Path:
    """Files of a model with code beside its weights; the file that appears if that code runs."""
    ran = path / "ran"
    (path / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass OwnConfig: ...\nclass OwnModel: ...\n")
    known = json.loads((path / "config.json").read_text()) if (path / "config.json").exists() else {}
    code = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnModel"}
    (path / "config.json").write_text(json.dumps(known | {"model_type": kind, "auto_map": code}), encoding="utf-8")
    return ran


def test_code_beside_weights_is_never_run(tmp_path: Path) -> None:
    ran = own_code(tmp_path, "own_kind")
    with pytest.raises(ServiceError, match=r"code that lies beside its weights, which the server never runs") as caught:
        load_backbone(str(tmp_path), 2, pretrained=True, seed=0)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert not ran.exists()


def test_a_kind_that_the_library_knows_is_built_by_the_library(tmp_path: Path) -> None:
    name = write_text_model(tmp_path, "bert")
    ran = own_code(tmp_path, "bert")
    classifier = load_backbone(name, 2, pretrained=False, seed=0, max_tokens=8)
    assert type(classifier.module).__module__ == "transformers.models.bert.modeling_bert"
    assert not ran.exists()


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}', encoding="utf-8")
    with pytest.raises(ServiceError, match="does not know the kind of model") as caught:
        load_backbone(str(tmp_path), 2, pretrained=True, seed=0)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_mean_pooling(tmp_path: Path, kind: str) -> None:
    """Features are the masked mean of the encoder's last hidden states; its pretrained weights and checkpoints load."""
    sizes = {"n_layers": 1, "n_heads": 2, "dim": 16, "hidden_dim": 32, "max_position_embeddings": 34}
    name = write_text_model(tmp_path / "model", kind, **sizes)
    plain = load_backbone(name, 3, pretrained=False, seed=3, max_tokens=8).module
    plain.save_pretrained(tmp_path / "model")  # pyright: ignore[reportCallIssue]
    classifier = load_backbone(name, 2, pretrained=True, seed=0, max_tokens=8, pooling="mean")
    encoder = plain.base_model
    assert isinstance(encoder, torch.nn.Module)
    names = {key for key in encoder.state_dict() if not key.startswith("pooler.")}
    own = classifier.module.state_dict()
    assert set(own) == {f"encoder.{key}" for key in names} | {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(own[f"encoder.{key}"], encoder.state_dict()[key]) for key in names)

    batch = probe_of(classifier)
    assert isinstance(batch, dict)
    encoder.eval()
    with torch.no_grad():
        hidden = encoder(**batch).last_hidden_state.numpy()
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    assert lengths[0] < lengths[1]
    features = features_of(classifier).numpy()
    for row, length in enumerate(lengths):
        assert_allclose(features[row], hidden[row, :length].mean(axis=0), rtol=1e-5, atol=1e-6)

    manifest = save_checkpoint(tmp_path, classifier, ORIGIN, epoch=0, checked_on=batch)
    assert manifest.pooling == "mean"
    loaded = load_checkpoint(tmp_path, manifest.digest, CPU)
    assert loaded.pooling == "mean"
    assert torch.equal(features_of(loaded), features_of(classifier))


def test_mean_pooling_without_all_weights_or_an_encoder_is_refused(tmp_path: Path) -> None:
    name = write_text_model(tmp_path / "bert", "bert")
    module = load_backbone(name, 2, pretrained=False, seed=0, max_tokens=8).module
    state = {key: value for key, value in module.state_dict().items() if "query.weight" not in key}
    module.save_pretrained(tmp_path / "bert", state_dict=state)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ServiceError, match=r"1 tensors below the head .*query\.weight"):
        load_backbone(name, 2, pretrained=True, seed=0, max_tokens=8, pooling="mean")
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    name = write_text_model(tmp_path / "bart", "bart", **sizes)
    with pytest.raises(ServiceError, match="has a decoder behind it: use pooling 'model'") as caught:
        load_backbone(name, 2, pretrained=False, seed=0, max_tokens=8, pooling="mean")
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("form", ["decoder", "convolution", "image"])
def test_checkpoints_of_unusual_heads(tmp_path: Path, form: str) -> None:
    if form == "decoder":
        name = write_decoder(tmp_path / "model", "llama", bos_token_id=2, eos_token_id=3, num_key_value_heads=1)
    elif form == "image":
        sizes = {"image_size": 32, "num_stages": 2, "depths": [1, 1], "hidden_sizes": [8, 16]}
        name = write_config(tmp_path / "model", "convnextv2", **sizes)
    else:
        name = "dla46_c"
    classifier = load_backbone(name, 2, pretrained=False, seed=0, image_size=32, max_tokens=8).to(CPU)
    manifest = save_checkpoint(tmp_path, classifier, ORIGIN, epoch=0, checked_on=probe_of(classifier))
    loaded = load_checkpoint(tmp_path, manifest.digest, CPU)
    assert torch.equal(features_of(loaded), features_of(classifier))
    assert (manifest.head_bias == "") == (form == "decoder")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            {"image_mean": [0.1, 0.2, 0.3], "resample": 3},
            "bicubic centre crop mean=(0.1, 0.2, 0.3) std=(0.5, 0.5, 0.5)",
        ),
        ({"do_normalize": False, "resample": 0}, "nearest centre crop mean=(0.0, 0.0, 0.0) std=(1.0, 1.0, 1.0)"),
        ({}, "bilinear centre crop mean=(0.5, 0.5, 0.5) std=(0.5, 0.5, 0.5)"),
    ],
)
def test_images_are_read_as_a_directory_of_transformers_says(
    tmp_path: Path, written: dict[str, object], read: str
) -> None:
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
    name = write_config(tmp_path, "vit", image_size=32, patch_size=8, **sizes)
    content = {"image_processor_type": "ViTImageProcessor", **written}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
    classifier = load_backbone(name, 2, pretrained=False, seed=0, image_size=32)
    assert classifier.preprocessing_id == f"image size=32 {read}"


def test_channels_in_another_order_are_refused(tmp_path: Path) -> None:
    name = write_config(tmp_path, "mobilevit", image_size=32)
    content = {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ServiceError, match="blue, green, red") as caught:
        load_backbone(name, 2, pretrained=False, seed=0)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
