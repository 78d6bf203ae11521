"""Model directories as the hub holds them, tiny and with random weights or none."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "good", "bad", "words")
"""The whole vocabulary; any other word is [UNK]."""
TEXT: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
}


def write_config(path: Path, kind: str, **settings: Any) -> str:
    """A directory with the configuration of a kind of model alone; its path."""
    AutoConfig.for_model(kind, **settings).save_pretrained(path)
    return str(path)


def write_text_model(path: Path, kind: str, **settings: Any) -> str:
    """A directory with a configuration and a tokenizer of ten words; its path."""
    write_config(path, kind, **(TEXT | settings))
    (path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}), encoding="utf-8")
    return str(path)


def write_decoder(path: Path, kind: str, **settings: Any) -> str:
    """As decoders come: a tokenizer that adds no tokens of its own and has none for padding; its path."""
    write_config(path, kind, **({**TEXT, "pad_token_id": None} | settings))
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(path / "tokenizer.json"))
    written = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "eos_token": "[SEP]"}
    (path / "tokenizer_config.json").write_text(json.dumps(written), encoding="utf-8")
    return str(path)
