"""head(features) == logits over architectures of both libraries, tiny or at small images, with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backbone_directories import write_config, write_decoder, write_text_model
from numpy.testing import assert_allclose

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier, check_head
from penult_server.backbones.images.preprocessing import Batch
from penult_server.backbones.model import load_backbone
from penult_server.errors import ServiceError

CPU = torch.device("cpu")
TEXTS = ("one two", "bad words words", "good", "nonsense and so on")

# Name, side of the images, width of the features, head.
TIMM = [
    ("convnextv2_atto", 32, 320, "head.fc"),
    ("swin_tiny_patch4_window7_224", 64, 768, "head.fc"),
    ("vit_tiny_patch16_224", 32, 192, "head"),
    ("deit_tiny_patch16_224", 32, 192, "head"),
    ("resnet18", 32, 512, "fc"),
    ("efficientnet_b0", 32, 1280, "classifier"),
    ("mobilenetv3_small_050", 32, 1024, "classifier"),
    ("regnety_002", 32, 368, "head.fc"),
    ("xcit_nano_12_p8_224", 32, 128, "head"),
    # Their heads are 1 x 1 convolutions.
    ("resnetv2_18", 32, 512, "head.fc"),
    ("dla46_c", 32, 256, "fc"),
    ("dpn48b", 32, 832, "classifier"),
]

BERT_SIZES: list[tuple[str, dict[str, Any], int, str]] = [
    # As BERT tiny, mini, small, medium and MiniLM relate, at an eighth of their width.
    ("bert", {"num_hidden_layers": n, "hidden_size": width, "intermediate_size": 4 * width}, width, "classifier")
    for n, width in ((2, 16), (4, 32), (4, 64), (8, 64), (6, 48))
]
TEXT_MODELS: list[tuple[str, dict[str, Any], int, str]] = [
    *BERT_SIZES,
    ("distilbert", {"n_layers": 1, "n_heads": 2, "dim": 16, "hidden_dim": 32}, 16, "classifier"),
    ("roberta", {"max_position_embeddings": 34}, 16, "classifier.out_proj"),
    ("electra", {"embedding_size": 8}, 16, "classifier.out_proj"),
    ("albert", {"embedding_size": 8}, 16, "classifier"),
    ("mpnet", {}, 16, "classifier.out_proj"),
    ("deberta", {"relative_attention": True, "pos_att_type": ["c2p"]}, 16, "classifier"),
    ("deberta-v2", {"relative_attention": True, "pos_att_type": ["p2c"]}, 16, "classifier"),
]
SPECIAL = {"bos_token_id": 2, "eos_token_id": 3}
DECODERS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": 32} | SPECIAL),
    ("gpt_neox", SPECIAL),
    ("llama", {"num_key_value_heads": 1} | SPECIAL),
    ("mistral", {"num_key_value_heads": 1} | SPECIAL),
]

STAGES: dict[str, Any] = {"depths": [1, 1], "num_heads": [2, 2], "embed_dim": 8, "window_size": 4}
VIT: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
}
SMALL: dict[str, Any] = {"image_size": 32, "num_stages": 2, "depths": [1, 1], "hidden_sizes": [8, 16]}
IMAGE_MODELS: list[tuple[str, dict[str, Any], int, str]] = [
    ("vit", VIT, 16, "classifier"),
    ("deit", VIT, 16, "classifier"),
    ("dinov2", VIT, 32, "classifier"),
    ("beit", VIT, 16, "classifier"),
    ("swin", {"image_size": 32, **STAGES}, 16, "classifier"),
    ("swinv2", {"image_size": 32, **STAGES}, 16, "classifier"),
    ("convnext", SMALL, 16, "classifier"),
    ("convnextv2", SMALL, 16, "classifier"),
    ("resnet", SMALL | {"embedding_size": 8}, 16, "classifier.1"),
    ("regnet", SMALL | {"embedding_size": 8, "groups_width": 8}, 16, "classifier.1"),
    ("mobilenet_v2", {"image_size": 32, "depth_multiplier": 0.35}, 1280, "classifier"),
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def batch_for(classifier: Classifier) -> Batch:
    """Four examples: random images, or texts of unequal length."""
    preprocessing = classifier.preprocessing
    if preprocessing.modality == "text":
        return preprocessing.to_batch([preprocessing.prepare(text) for text in TEXTS], CPU)
    side = preprocessing.probe()[0].shape[0]
    pixels = np.random.default_rng(3).integers(0, 256, (4, side, side, 3), dtype=np.uint8)
    return preprocessing.to_batch([preprocessing.prepare(image) for image in pixels], CPU)


def check_features(classifier: Classifier, width: int, head_name: str) -> None:
    """In both modes the logits are the head's weights times the features, in float64 by hand."""
    batch = batch_for(classifier)
    assert classifier.head_name == head_name
    assert classifier.n_features == width
    weight = classifier.head.weight.detach().numpy().astype(np.float64)
    bias = classifier.head.bias.detach().numpy() if classifier.head.bias is not None else 0.0
    seen: list[np.ndarray] = []
    for training in (True, False):
        classifier.module.train(training)
        with torch.no_grad():
            features, logits = classifier.forward_with_features(batch)
        assert features.shape == (4, width)
        assert features.dtype == logits.dtype == torch.float32
        assert_allclose(features.numpy() @ weight.T + bias, logits.numpy(), rtol=1e-5, atol=1e-5)
        seen.append(features.numpy())
    assert np.ptp(seen[1], axis=0).max() > 0
    assert check_head(classifier, batch) <= 1e-6
    # One by one, an example has the features that it has among others.
    with torch.no_grad():
        alone, _ = classifier.forward_with_features(first_of(batch))
    assert_allclose(alone.numpy(), seen[1][:1], rtol=1e-3, atol=1e-5)


def first_of(batch: Batch) -> Batch:
    """The first example of a batch, a text without its padding."""
    if not isinstance(batch, dict):
        return batch[:1]
    length = int(batch["attention_mask"][0].sum())
    return {name: values[:1, :length] for name, values in batch.items()}


@pytest.mark.parametrize(("name", "side", "width", "head_name"), TIMM, ids=[one[0] for one in TIMM])
def test_timm(name: str, side: int, width: int, head_name: str) -> None:
    classifier = load_backbone(name, 3, pretrained=False, seed=1, image_size=side)
    check_features(classifier, width, head_name)
    # The features are the model's own pooled ones, by timm's other way to them.
    own: Any = classifier.module
    batch = batch_for(classifier)
    with torch.inference_mode():
        expected = own.forward_head(own.forward_features(batch), pre_logits=True).flatten(start_dim=1)
        features, _ = classifier.forward_with_features(batch)
    assert_allclose(features.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings", "width", "head_name"), TEXT_MODELS, ids=[f"{one[0]}-{one[2]}" for one in TEXT_MODELS]
)
def test_sequence_classifiers(tmp_path: Path, kind: str, settings: dict[str, Any], width: int, head_name: str) -> None:
    name = write_text_model(tmp_path, kind, **settings)
    check_features(load_backbone(name, 3, pretrained=False, seed=1, max_tokens=16), width, head_name)


@pytest.mark.parametrize(("kind", "settings"), DECODERS, ids=[one[0] for one in DECODERS])
def test_decoders_whose_heads_read_every_token(tmp_path: Path, kind: str, settings: dict[str, Any]) -> None:
    classifier = load_backbone(write_decoder(tmp_path, kind, **settings), 3, pretrained=False, seed=1, max_tokens=16)
    check_features(classifier, 16, "score")
    assert classifier.head.bias is None
    # The token that ends texts pads them; a text without any token is one of it.
    preprocessing = classifier.preprocessing
    with torch.no_grad():
        features, _ = classifier.forward_with_features(
            preprocessing.to_batch([preprocessing.prepare(text) for text in ("", "good", "good bad")], CPU)
        )
    assert torch.isfinite(features).all()
    assert len(torch.unique(features, dim=0)) == 3


@pytest.mark.parametrize(("kind", "settings", "width", "head_name"), IMAGE_MODELS, ids=[one[0] for one in IMAGE_MODELS])
def test_image_classifiers(tmp_path: Path, kind: str, settings: dict[str, Any], width: int, head_name: str) -> None:
    name = write_config(tmp_path, kind, **settings)
    check_features(load_backbone(name, 3, pretrained=False, seed=1, image_size=32), width, head_name)


@pytest.mark.parametrize(
    ("name", "heads"),
    [("deit_tiny_distilled_patch16_224", "'head', 'head_dist'"), ("crossvit_9_dagger_240", r"'head\.0', 'head\.1'")],
)
def test_two_heads_are_refused_by_name(name: str, heads: str) -> None:
    with pytest.raises(ServiceError, match=f"made of the outputs of {heads}; choose the form") as caught:
        load_backbone(name, 3, pretrained=False, seed=0)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_kind_that_classifies_nothing_is_refused(tmp_path: Path) -> None:
    name = write_config(tmp_path, "vit_mae", hidden_size=16)
    with pytest.raises(ServiceError, match="classifies neither texts nor images") as caught:
        load_backbone(name, 2, pretrained=False, seed=0)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_model_that_wants_more_than_texts_is_refused(tmp_path: Path) -> None:
    """BART looks for the token that ends a text, which this tokenizer does not write."""
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    name = write_text_model(tmp_path, "bart", **sizes, eos_token_id=9)
    with pytest.raises(ServiceError, match=r"gave no logits for two texts alone.*eos") as caught:
        load_backbone(name, 2, pretrained=False, seed=0, max_tokens=16)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_convolution_becomes_a_linear_layer_of_the_same_function() -> None:
    import timm

    from penult_server.backbones.heads import with_linear_head

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model("resnetv2_18", num_classes=3).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = module(images)
        convolution = module.get_classifier()
        assert isinstance(convolution, torch.nn.Conv2d)
        # A fresh head of timm's is zero.
        convolution.weight.normal_(generator=torch.Generator().manual_seed(1))
        before = module(images)
        after = with_linear_head(module)(images)
    assert module.state_dict()["head.fc.weight"].shape == (3, 512)
    assert before.abs().max() > 0.1
    assert_allclose(after.numpy(), before.numpy(), rtol=1e-5, atol=1e-6)
