"""Backbones of transformers: from a directory, a package, or the hub."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' automatic classes are untyped.

import hashlib
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers.configuration_utils import PretrainedConfig
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
)
from transformers.models.auto.tokenization_auto import AutoTokenizer

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import (
    Pooling,
    find_packaged,
    is_model_directory,
    label_names,
    missing_package,
    no_model,
    package_for,
    unreadable_weights,
)
from penult_server.backbones.classifier import FileHead
from penult_server.backbones.hub import hub_access
from penult_server.backbones.images.image_processor import image_preprocessing
from penult_server.backbones.images.preprocessing import Preprocessing, TextPreprocessing
from penult_server.backbones.texts.mean_pooled import MeanPooled, without_pooler
from penult_server.errors import ServiceError

# Code that lies beside the weights is never run.
_SAFE: dict[str, Any] = {"trust_remote_code": False}


def load_transformer(
    name: str,
    n_classes: int,
    *,
    pretrained: bool,
    image_size: int,
    max_tokens: int,
    pooling: Pooling = "model",
    source: str = "",
) -> tuple[nn.Module, Preprocessing, dict[str, bytes], FileHead | None]:
    """The network, its preprocessing, the files that build both again without weights, and the head of a directory.

    The head of a directory is in the network where it has `n_classes` rows, or `n_classes` is 0; a name of the hub or
    of a package means the backbone alone, and `source` is what the directory is called in messages.
    Random numbers come from torch's global generator. Raises ServiceError: INVALID_ARGUMENT,
    WEIGHTS_UNAVAILABLE.
    """
    place = _source(name)
    with _directory_access(name) if Path(place).is_dir() else hub_access(name):
        config = _read_config(place, name, n_classes)
        family = _family(config, name)
        preprocessing, files = _preprocessing(place, name, config, family, image_size, max_tokens)
        module, n_rows = _network(family, config, name, pooling, place if pretrained else "")
    files = {"config.json": config.to_json_string(use_diff=False).encode(), **files}
    found: FileHead | None = None
    if is_model_directory(name) and n_rows:
        names = label_names(name)
        found = FileHead(n_rows=n_rows, classes=names if len(names) == n_rows else (), source=source or name)
    return module, preprocessing, files, found


def rebuild_transformer(
    directory: Path, name: str, pooling: Pooling, files: Mapping[str, bytes], max_tokens: int
) -> tuple[nn.Module, TextPreprocessing | None]:
    """The network with random weights from the files of a checkpoint, and its preprocessing if it reads texts."""
    config = AutoConfig.from_pretrained(directory, local_files_only=True, **_SAFE)
    family = _family(config, name)
    module, _ = _network(family, config, name, pooling, "")
    if family is AutoModelForImageClassification:
        return module, None
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, **_SAFE)
    tokenizer_files = {name: content for name, content in files.items() if name != "config.json"}
    return module, _text_preprocessing(tokenizer, tokenizer_files, max_tokens, config)


def _text_preprocessing(tokenizer: Any, files: Mapping[str, bytes], max_tokens: int, config: Any) -> TextPreprocessing:
    """Preprocessing by a tokenizer whose files are `files`, for the model of a configuration."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file}\n{hashlib.sha256(files[file]).hexdigest()}\n".encode())
    return TextPreprocessing(
        tokenizer=tokenizer,
        tokenizer_digest=digest.hexdigest(),
        max_tokens=max_tokens,
        pad_id=int(tokenizer.pad_token_id),
        reads_types=_reads_types(config),
    )


def _reads_types(config: Any) -> bool:
    """Whether the model reads which text of a pair a token belongs to. A tokenizer may say so to one that does not."""
    models: Any = AutoModelForSequenceClassification._model_mapping  # pyright: ignore[reportPrivateUsage]
    return (
        "token_type_ids" in signature(models[type(config)].forward).parameters
        and getattr(config, "type_vocab_size", 0) > 1
    )


def _source(name: str) -> str:
    """Directory or hub name to load from."""
    packaged = find_packaged(name)
    if packaged is not None:
        return str(packaged.path)
    if package_for(name):
        raise missing_package(name)
    return name


@contextmanager
def _directory_access(name: str) -> Generator[None]:
    """Turn missing or damaged files of a directory into a ServiceError (WEIGHTS_UNAVAILABLE)."""
    try:
        yield
    except (ServiceError, MemoryError, torch.OutOfMemoryError):
        raise
    except (OSError, SafetensorError) as error:
        raise unreadable_weights(name, name, str(error)) from error
    except Exception as error:  # of files that others made the libraries raise whatever comes of them
        raise unreadable_weights(name, name, no_model(error)) from error


def _read_config(source: str, name: str, n_classes: int) -> Any:
    try:
        config = AutoConfig.from_pretrained(source, **({"num_labels": n_classes} if n_classes else {}), **_SAFE)
    except ValueError as error:
        content, _ = PretrainedConfig.get_config_dict(source)
        raise _own_code(name) if "auto_map" in content else _unknown_kind(name, error) from error
    # Where a kind has several classifiers, the first is meant by a configuration that names none.
    config.architectures = config.architectures or []
    return config


def _own_code(name: str) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"the model {name!r} is computed by Python code that lies beside its weights, which the server never runs; "
        f"choose one whose code is part of timm or transformers",
        backbone=name,
    )


def _unknown_kind(name: str, error: Exception) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"transformers does not know the kind of model that {name!r} is: {error}",
        backbone=name,
    )


def _family(config: Any, name: str) -> Any:
    """The automatic class that puts a classification head on this kind of model."""
    for family in (AutoModelForSequenceClassification, AutoModelForImageClassification):
        if type(config) in family._model_mapping:  # pyright: ignore[reportPrivateUsage]
            return family
    raise ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"the model {name!r} (type {config.model_type!r}) classifies neither texts nor images in transformers; "
        f"choose one that does",
        backbone=name,
    )


def _network(family: Any, config: Any, name: str, pooling: Pooling, source: str) -> tuple[nn.Module, int]:
    """The network with the weights of `source`, or with random ones when that is empty; rows of the head in them."""
    if pooling == "model" or family is AutoModelForImageClassification:
        if source:
            return _pretrained(family, source, name, config)
        return family.from_config(config, dtype=torch.float32, **_SAFE), 0
    if config.is_encoder_decoder:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"pooling 'mean' is over the tokens that an encoder reads; {name!r} (type {config.model_type!r}) has a "
            f"decoder behind it: use pooling 'model'",
            backbone=name,
        )
    options = without_pooler(config)
    if source:
        encoder, _ = _pretrained(AutoModel, source, name, config, **options)
    else:
        encoder = AutoModel.from_config(config, dtype=torch.float32, **options, **_SAFE)
    return MeanPooled(encoder, config), 0


def _pretrained(family: Any, source: str, name: str, config: Any, **options: Any) -> tuple[nn.Module, int]:
    """Load pretrained weights; every tensor below the head must be among them. Also the rows of their head, 0 for none.

    A head of several layers counts as none where one of them is missing.
    """
    module, report = family.from_pretrained(
        source,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **options,
        **_SAFE,
    )
    keys = [*report["missing_keys"], *report["mismatched_keys"]]
    names = sorted(key if isinstance(key, str) else str(key[0]) for key in keys)
    # A model without a head has nothing but what is below it.
    prefix = "" if family is AutoModel else f"{module.base_model_prefix}."
    missing = [key for key in names if key.startswith(prefix)]
    if missing:
        raise ServiceError(
            ErrorKind.WEIGHTS_UNAVAILABLE,
            f"of the weights of {name!r}, {len(missing)} tensors below the head are missing or have another shape than "
            f"in its configuration ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); "
            "give a complete model",
            backbone=name,
            tensor=missing[0],
        )
    absent = [key for key in report["missing_keys"] if not key.startswith(prefix)]
    rows = [shapes[1][0] for shapes in report["mismatched_keys"] if len(shapes) > 1 and len(shapes[1]) > 0]
    if absent or family is AutoModel:
        return module, 0
    return module, int(rows[0]) if rows else int(config.num_labels)


def _preprocessing(
    source: str, name: str, config: Any, family: Any, image_size: int, max_tokens: int
) -> tuple[Preprocessing, dict[str, bytes]]:
    if family is AutoModelForImageClassification:
        return image_preprocessing(source, name, config, image_size), {}
    tokenizer = _tokenizer(source, name)
    check_max_tokens(name, config, tokenizer, max_tokens)
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        # Decoders have no padding token; their users pad with the one that ends a text, which the mask hides.
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the tokenizer of {name!r} has no padding token, so texts cannot be batched; choose another backbone",
            backbone=name,
        )
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    files = _tokenizer_files(tokenizer)
    return _text_preprocessing(tokenizer, files, max_tokens, config), files


def check_max_tokens(name: str, config: Any, tokenizer: Any, max_tokens: int) -> None:
    """Refuse more tokens than the tokenizer allows (for RoBERTa, 2 fewer than its positions) or than have positions."""
    limits = (getattr(config, "max_position_embeddings", None), tokenizer.model_max_length)
    longest = min((int(limit) for limit in limits if limit), default=None)
    if max_tokens < 1 or (longest is not None and max_tokens > longest):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"max_tokens must lie in 1 .. {longest or 'any'} for the backbone {name!r}, got {max_tokens}",
            backbone=name,
            max_tokens=max_tokens,
        )


def _tokenizer(source: str, name: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(source, **_SAFE)
    # Code beside the weights; a vocabulary that needs a package which is not installed; a kind without tokenizer.
    except (ValueError, ImportError, LookupError) as error:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the tokenizer of {name!r} cannot be built from its files: {error}; give a directory that holds its "
            f"tokenizer.json",
            backbone=name,
        ) from error


def _tokenizer_files(tokenizer: Any) -> dict[str, bytes]:
    """What a tokenizer saves, by file name."""
    with tempfile.TemporaryDirectory() as directory:
        tokenizer.save_pretrained(directory)
        return {path.name: path.read_bytes() for path in Path(directory).iterdir() if path.is_file()}
