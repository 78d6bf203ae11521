"""Flat features: the last hidden state before any pooling, for every kind of backbone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from transformers import BertConfig, ViTConfig

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.hidden import forward_with_hidden, hidden_width
from penult_server.backbones.model import load_backbone
from penult_server.errors import ServiceError

CPU = torch.device("cpu")
SIZES = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "good", "bad", "not"]


def bert(path: Path) -> Classifier:
    BertConfig(**SIZES, vocab_size=len(WORDS), max_position_embeddings=32).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}), encoding="utf-8")
    return load_backbone(str(path), 2, pretrained=False, seed=0, max_tokens=12)


def images(size: int, n: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(n)]


@torch.inference_mode()
def test_a_convolutional_network_pools_its_flat_features_into_what_the_head_reads() -> None:
    classifier = load_backbone("test_resnet", 2, pretrained=False, seed=0, image_size=64)
    batch = classifier.preprocessing.to_batch(images(64), CPU)
    flat, logits = forward_with_hidden(classifier, batch)
    features, same_logits = classifier.forward_with_features(batch)
    assert flat.shape == (3, hidden_width(classifier, CPU))
    assert flat.shape[1] > classifier.n_features
    pooled = flat.reshape(3, classifier.n_features, -1).mean(dim=2)
    assert_allclose(pooled.numpy(), features.numpy(), rtol=1e-4, atol=1e-6)
    assert torch.equal(logits, same_logits)


@torch.inference_mode()
def test_texts_are_padded_to_max_tokens_whatever_their_batch(tmp_path: Path) -> None:
    """Rows are those of the transformer run on the padded text by hand, and do not depend on their neighbours."""
    classifier = bert(tmp_path)
    preprocessing = classifier.preprocessing
    texts = ["a film", "not a good film not", "bad"]
    items = [preprocessing.prepare(text) for text in texts]
    flat, logits = forward_with_hidden(classifier, preprocessing.to_batch(items, CPU))
    assert flat.shape == (3, 12 * 16)
    assert hidden_width(classifier, CPU) == 12 * 16
    module = classifier.module
    for row, item in enumerate(items):
        ids, mask = torch.zeros((1, 12), dtype=torch.int64), torch.zeros((1, 12), dtype=torch.int64)
        ids[0, : len(item)] = torch.from_numpy(item.astype(np.int64))
        mask[0, : len(item)] = 1
        expected = module.bert(input_ids=ids, attention_mask=mask).last_hidden_state.flatten(1)
        assert_allclose(flat[row].numpy(), expected[0].numpy(), rtol=1e-4, atol=1e-5)
    unpadded = classifier.logits(preprocessing.to_batch(items, CPU))
    assert_allclose(logits.numpy(), unpadded.numpy(), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_an_image_transformer_keeps_every_token(tmp_path: Path) -> None:
    ViTConfig(**SIZES, image_size=32, patch_size=8).save_pretrained(tmp_path)
    classifier = load_backbone(str(tmp_path), 2, pretrained=False, seed=0)
    flat, logits = forward_with_hidden(classifier, classifier.preprocessing.to_batch(images(32), CPU))
    assert flat.shape == (3, (16 + 1) * 16)
    assert_allclose(classifier.head(flat[:, :16]).numpy(), logits.numpy(), rtol=1e-4, atol=1e-5)


def test_a_model_that_hides_it_is_refused() -> None:
    classifier = load_backbone("test_resnet", 2, pretrained=False, seed=0, image_size=64)
    batch = classifier.preprocessing.to_batch(images(64), CPU)
    bare = Classifier(
        name="bare",
        library="timm",
        module=torch.nn.Sequential(torch.nn.Flatten(), classifier.head),
        head=classifier.head,
        head_name="1",
        preprocessing=classifier.preprocessing,
    )
    with pytest.raises(ServiceError, match="extract kind='pooled'") as raised:
        forward_with_hidden(bare, batch)
    assert raised.value.kind is ErrorKind.INVALID_ARGUMENT
