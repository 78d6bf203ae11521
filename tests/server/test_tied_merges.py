"""A model that holds one tensor under three names: merged once, by every rule, and one tensor afterwards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_directories import write_text_model
from safetensors.numpy import load_file, save_file

from penult_kernels.weight_space.registry import RULES
from penult_proto.errors import ErrorKind
from penult_proto.merge_methods import METHODS
from penult_proto.safetensors import WEIGHTS_FILE
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, load_checkpoint, save_checkpoint
from penult_server.errors import ServiceError
from penult_server.front.queries.merges.compatible import check_bodies, facts_of
from penult_server.merging.fisher import fisher_diagonal
from penult_server.merging.grams import input_grams
from penult_server.merging.storing import Told, store_merge
from penult_server.merging.streamed import MergePlan, stream
from penult_server.merging.tensors import all_blocks, merged_tensors, other_names
from penult_server.stores.checkpoints import (
    CheckpointManifest,
    checkpoint_directory,
    digest_checkpoint,
    digest_weights,
    read_manifest,
    read_state,
    write_checkpoint,
)
from penult_server.stores.writing.weights import header_of

CPU = torch.device("cpu")
ORIGIN = Origin(run_id="r", dataset="d", dataset_digest="d" * 64, attribute="a", classes=("x", "y"), train_shares=())
WORDS = ("model.decoder.embed_tokens.weight", "model.encoder.embed_tokens.weight", "model.shared.weight")
TEXTS = ("good words", "two bad", "one good two", "bad bad words")


class Texts:
    """Inputs of a network."""

    def __init__(self, network: Classifier) -> None:
        self._items = [network.preprocessing.prepare(text) for text in TEXTS]

    def take(self, at: np.ndarray) -> list[np.ndarray]:
        return [self._items[int(one)] for one in at]


class Bart:
    """A store with a start and two networks from it; and another in which the tied tensor is stored once."""

    def __init__(self, directory: Path) -> None:
        sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
        sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "eos_token_id": 3}
        name = write_text_model(directory / "bart", "bart", **sizes)
        self.root, self.once = directory / "store", directory / "once"
        self.network = load_backbone(name, 2, pretrained=False, seed=0, max_tokens=8)
        self.base, *self.last = (self._saved(seed) for seed in range(3))
        self.twin = {one.digest: self._saved_once(one) for one in (self.base, *self.last)}

    def _saved(self, seed: int) -> CheckpointManifest:
        torch.manual_seed(seed)
        with torch.no_grad():
            for one in self.network.module.parameters():
                one += 0.02 * torch.randn_like(one)
        probe = self.network.preprocessing.to_batch(self.network.preprocessing.probe(), CPU)
        return save_checkpoint(self.root, self.network, ORIGIN, epoch=seed, checked_on=probe)

    def _saved_once(self, saved: CheckpointManifest) -> str:
        state = read_state(self.root, saved)
        kept = {name: value for name, value in state.items() if name not in WORDS[1:]}
        weights = digest_weights(kept)
        digest = digest_checkpoint(weights, preprocessing_id="p", dataset_digest="d" * 64, attribute="a")
        others = {"weights_digest": weights, "digest": digest, "preprocessing_id": "p", "tied": (), "files": {}}
        return write_checkpoint(self.once, replace(saved, attribute="a", **others), kept).digest


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Bart:
    return Bart(tmp_path_factory.mktemp("bart"))


def plan(root: Path, method: str, base: str, parents: list[str], files: tuple[Path, ...], scope="full", blocks=()):
    first = read_manifest(root, parents[0])
    header = header_of(checkpoint_directory(root, first.digest) / WEIGHTS_FILE)
    known = METHODS[method]
    return MergePlan(
        method=method,
        parents=tuple(parents[: known.most or len(parents)]),
        shares=(),
        numbers={name: one.default_of(2) for name, one in known.numbers.items()},
        seed=4,
        base=base if known.needs_base else "",
        rest=first.digest,
        merged=tuple(merged_tensors(header, first, scope, blocks)),
        tied=other_names(first),
        importance=files if method == "fisher" else (),
        grams=files if method == "regmean" else (),
    )


def measured(bart: Bart, method: str, tmp_path: Path) -> tuple[Path, ...]:
    """What the method measures of both networks, in files."""
    found = []
    for index, one in enumerate(bart.last if METHODS[method].reads_rows else []):
        names = merged_tensors(header_of(checkpoint_directory(bart.root, one.digest) / WEIGHTS_FILE), one, "full")
        network = load_checkpoint(bart.root, one.digest, CPU)
        measure = fisher_diagonal if method == "fisher" else input_grams
        rows = np.arange(len(TEXTS))
        answer = measure(network, Texts(network), rows, names, device=CPU, beat=lambda _: None)
        found.append(tmp_path / f"{index}.safetensors")
        save_file(answer, found[-1])
    return tuple(found)


@pytest.mark.parametrize("method", sorted(RULES))
def test_every_rule_sees_a_tied_tensor_once(bart: Bart, tmp_path: Path, method: str) -> None:
    files = measured(bart, method, tmp_path)
    digests = [one.digest for one in bart.last]
    asked = plan(bart.root, method, bart.base.digest, digests, files)
    stream(bart.root, asked, tmp_path / "tied", beat=lambda _: None, step=1000)
    # The twins' order may be another: it is that of this one.
    twins = plan(bart.once, method, bart.twin[bart.base.digest], [bart.twin[one] for one in digests], files)
    if method != "dare":  # which draws by the digests
        stream(bart.once, twins, tmp_path / "once", beat=lambda _: None)
    found = load_file(tmp_path / "tied")
    assert not np.array_equal(found[WORDS[0]], read_state(bart.root, bart.last[0])[WORDS[0]])
    for name in WORDS[1:]:
        np.testing.assert_array_equal(found[name], found[WORDS[0]])
    if method != "dare":
        expected = load_file(tmp_path / "once")
        assert set(found) == {*expected, *WORDS[1:]}
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_merged_one_is_built_with_its_tie_and_stored_so(bart: Bart) -> None:
    asked = plan(bart.root, "dare", bart.base.digest, [one.digest for one in bart.last], (), scope="body")
    told = Told(merging=lambda _: None, measuring=lambda *_: None)
    stored = store_merge(bart.root, asked, None, lambda *_: ({}, ()), device=CPU, told=told)
    assert stored.tied == bart.base.tied == (WORDS,)
    network = load_checkpoint(bart.root, stored.digest, CPU)
    parameters = dict(network.module.named_parameters(remove_duplicate=False))
    assert len({id(parameters[name]) for name in WORDS}) == 1
    again = {name: value.numpy() for name, value in network.module.state_dict().items()}
    assert digest_weights(again) == stored.weights_digest


def test_a_block_has_what_its_first_name_says(bart: Bart) -> None:
    first = bart.last[0]
    header = header_of(checkpoint_directory(bart.root, first.digest) / WEIGHTS_FILE)
    blocks = all_blocks(header, first)
    assert WORDS[0] in blocks["model.decoder"]
    assert "model.shared" not in blocks
    assert sorted(name for names in blocks.values() for name in names) == sorted(set(header.tensors) - set(WORDS[1:]))
    assert not set(WORDS) & set(merged_tensors(header, first, "blocks", ["model.encoder"]))


def test_fisher_information_of_a_tied_tensor_is_that_of_its_one_gradient(bart: Bart) -> None:
    network: Classifier = load_checkpoint(bart.root, bart.last[0].digest, CPU)
    (found,) = fisher_diagonal(
        network, Texts(network), np.arange(len(TEXTS)), {WORDS[0]}, device=CPU, beat=lambda _: None
    ).values()
    weight = network.module.get_parameter(WORDS[2])
    total = np.zeros(found.shape)
    for text in TEXTS:
        logits = network.logits(network.preprocessing.to_batch([network.preprocessing.prepare(text)], CPU))
        for k, p in enumerate(logits.detach().softmax(1)[0]):
            (one,) = torch.autograd.grad(logits.log_softmax(1)[0, k], weight, retain_graph=True)
            total += float(p) * one.double().numpy() ** 2
    np.testing.assert_allclose(found, total / len(TEXTS), rtol=1e-4, atol=1e-12)


def test_a_weight_that_is_tied_in_one_alone_is_refused(bart: Bart) -> None:
    first, second = (facts_of(bart.root, one.digest) for one in bart.last)
    check_bodies(first, second, allow_datasets=False)
    untied = replace(second, manifest=replace(second.manifest, tied=()))
    for pair, tied in (((first, untied), first), ((untied, first), first)):
        with pytest.raises(ServiceError, match=f"are one tensor in checkpoint {tied.short} and several in") as caught:
            check_bodies(*pair, allow_datasets=False)
        assert caught.value.kind == ErrorKind.INCOMPATIBLE_CHECKPOINTS
        assert caught.value.metadata["tensors"] == ", ".join(WORDS)
