"""Pairs of texts on their way to a model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_directories import write_text_model
from numpy.testing import assert_allclose
from transformers import AutoTokenizer

from penult_server.backbones.catalog import Pooling
from penult_server.backbones.classifier import check_head
from penult_server.backbones.model import load_backbone

CPU = torch.device("cpu")
PAIRS = [("one two", "good"), ("one one two two words words", "bad"), ("good", "one one two two words words")]


@pytest.mark.parametrize("pooling", ["model", "mean"])
def test_pairs_are_read_as_transformers_reads_them(tmp_path: Path, pooling: Pooling) -> None:
    name = write_text_model(tmp_path, "bert")
    classifier = load_backbone(name, 2, pretrained=False, seed=0, max_tokens=9, pooling=pooling)
    preprocessing = classifier.preprocessing
    items = preprocessing.prepare_all(PAIRS)
    assert [item.shape for item in items] == [(2, 6), (2, 9), (2, 9)]
    assert all(np.array_equal(item, preprocessing.prepare(pair)) for item, pair in zip(items, PAIRS, strict=True))
    batch = preprocessing.to_batch(items, CPU)
    expected = AutoTokenizer.from_pretrained(name)(
        *map(list, zip(*PAIRS, strict=True)), truncation=True, max_length=9, padding=True, return_tensors="pt"
    )
    for key in ("input_ids", "attention_mask", "token_type_ids"):
        assert torch.equal(batch[key], expected[key]), key
    with torch.inference_mode():
        logits = classifier.logits(batch)
        without = classifier.logits({key: batch[key] for key in ("input_ids", "attention_mask")})
        assert_allclose(logits.numpy(), classifier.module(**expected).logits.numpy(), rtol=1e-5, atol=1e-6)
    assert check_head(classifier, batch) <= 1e-6
    assert (logits - without).abs().max() > 1e-6, "the model is told which text a token belongs to"


@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
def test_pairs_reach_a_model_that_knows_no_types(tmp_path: Path, kind: str) -> None:
    """Its tokenizer says which text a token belongs to; the model has no place for that."""
    name = write_text_model(tmp_path, kind, **({"type_vocab_size": 1} if kind == "roberta" else {}))
    classifier = load_backbone(name, 2, pretrained=False, seed=0, max_tokens=9)
    assert "token_type_ids" in classifier.preprocessing.tokenizer("one", "two")
    batch = classifier.preprocessing.to_batch(classifier.preprocessing.prepare_all(PAIRS), CPU)
    assert sorted(batch) == ["attention_mask", "input_ids"]
    assert check_head(classifier, batch) <= 1e-6
