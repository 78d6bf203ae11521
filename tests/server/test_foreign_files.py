"""Models of other programs: their files give the logits that the original module gives, head included."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbone_directories import write_config, write_decoder, write_text_model
from foreign_files import FILES, FOREIGN, SIDE, EarlyStopper, images, logits_of, network, timm_directory
from numpy.testing import assert_allclose
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier, check_head
from penult_server.backbones.files.keeping import head_for_dataset, head_with_classes
from penult_server.backbones.files.tensors import read_tensors
from penult_server.backbones.model import load_backbone
from penult_server.errors import ServiceError

CPU = torch.device("cpu")
NAMES = ("cat", "dog")


def load(path: Path, n_classes: int = 2, name: str = "test_resnet", **options) -> Classifier:
    return load_backbone(
        name, n_classes, pretrained=True, seed=0, image_size=SIDE, max_tokens=8, weights=str(path), **options
    )


def compare(classifier: Classifier, expected: Tensor, batch) -> None:
    classifier.module.eval()
    with torch.inference_mode():
        features, logits = classifier.forward_with_features(batch)
        assert_allclose(classifier.head(features).numpy(), logits.numpy(), atol=1e-5)
    assert_allclose(logits.numpy(), expected.numpy(), atol=1e-5, rtol=1e-5)
    assert float(logits.std()) > 1e-2  # a head of zeros would agree with itself


@pytest.mark.parametrize("kind", FILES)
def test_a_file_gives_the_logits_of_the_module_that_was_saved(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights"
    module = FILES[kind](path)
    classifier = head_with_classes(load(path), NAMES)
    compare(classifier, logits_of(module, images()), images())
    assert classifier.head_origin == "kept"
    assert check_head(classifier, images()) <= 1e-5


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_objects_are_refused_by_name_or_left_out(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pkl"
    module = FOREIGN[kind](path)
    with pytest.raises(ServiceError, match=r"(EarlyStopper|argparse\.Namespace).*foreign_objects='ignore'"):
        load(path)
    classifier = head_with_classes(load(path, foreign_objects="ignore"), NAMES)
    compare(classifier, logits_of(module, images()), images())


def test_what_was_read_is_said(tmp_path: Path) -> None:
    def notes(kind: str) -> str:
        FILES[kind](tmp_path / kind)
        return " | ".join(note.text for note in head_with_classes(load(tmp_path / kind), NAMES).notes)

    assert "the weights are 'state_dict_ema'" in notes("timm averaged")
    assert "beside it the file holds state_dict" in notes("timm averaged")
    assert "'net.module.' before the names" in notes("lightning net.module.")
    assert "the head is 'linear'" in notes("head apart")
    assert "its 2 rows are 'cat', 'dog'" in notes("wilds")


@pytest.mark.parametrize("place", ["top", "model"])
def test_a_whole_module_is_refused_with_the_line_that_saves_its_weights(tmp_path: Path, place: str) -> None:
    path = tmp_path / "module.pt"
    torch.save(network() if place == "top" else {"model": network(), "epoch": 1}, path)
    with pytest.raises(ServiceError, match=r"whole module \(timm.*torch\.save\(model\.state_dict\(\), path\)"):
        load(path, foreign_objects="ignore")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "no dictionary, and no tensors"),
        ({"fc.weight": "one"}, "the keys fc.weight, and no tensors"),
        ({"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}}, "the keys a, b, and no tensors"),
        ({"state_dict": {"model": {"state_dict": {}}}}, "no tensors by their names"),
        (EarlyStopper(), "no dictionary, and no tensors"),
    ],
)
def test_a_file_without_tensors_by_names_says_what_it_holds(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ServiceError, match=said) as caught:
        read_tensors(tmp_path / "x.pt", "ignore")
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


def test_two_models_in_one_file_are_refused_and_one_under_two_names_is_not(tmp_path: Path) -> None:
    one, other = network(seed=1).state_dict(), network(seed=2).state_dict()
    both = {f"student.{name}": tensor for name, tensor in one.items()}
    torch.save(both | {f"teacher.{name}": tensor for name, tensor in other.items()}, tmp_path / "two.pt")
    with pytest.raises(ServiceError, match=r"several models .*(student|teacher)\.' and '(student|teacher)\."):
        load(tmp_path / "two.pt")
    torch.save(both | {f"teacher.{name}": tensor for name, tensor in one.items()}, tmp_path / "same.pt")
    head_with_classes(load(tmp_path / "same.pt"), NAMES)


class MoreLayers(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.backbone = network()
        self.backbone.reset_classifier(0)
        width = self.backbone.num_features
        layers = {
            "hidden": [nn.Linear(width, 7), nn.ReLU(), nn.Linear(7, 2)],
            "normalised": [nn.LayerNorm(width), nn.Linear(width, 2)],
            "square": [nn.Linear(width, width), nn.Linear(width, 2)],
        }[kind]
        self.classifier = nn.Sequential(*layers)


@pytest.mark.parametrize("kind", ["hidden", "normalised", "square"])
def test_a_head_of_several_layers_is_refused(tmp_path: Path, kind: str) -> None:
    torch.save(MoreLayers(kind).state_dict(), tmp_path / "x.pt")
    with pytest.raises(ServiceError, match=r"is not one linear layer: .*classifier\.0.*head='new'"):
        load(tmp_path / "x.pt")


def test_a_head_needs_names_as_many_as_its_rows(tmp_path: Path) -> None:
    FILES["safetensors"](tmp_path / "x")
    classifier = load(tmp_path / "x")
    with pytest.raises(ServiceError, match=r"2 rows, and nobody says .*classes=\[\.\.\.\].*dataset's are \['a', 'b'\]"):
        head_with_classes(classifier, (), ("a", "b"))
    with pytest.raises(ServiceError, match="has 2 rows, and classes= names 3"):
        head_with_classes(classifier, ("a", "b", "c"))
    body = {name: one for name, one in network().state_dict().items() if not name.startswith("fc.")}
    torch.save(body, tmp_path / "body.pt")
    with pytest.raises(ServiceError, match=r"hold no head .*head='new'"):
        head_with_classes(load(tmp_path / "body.pt"), NAMES)
    torch.save(network(1).state_dict(), tmp_path / "one.pt")
    with pytest.raises(ServiceError, match="one row, and so one logit; save it with two, zeros and that row"):
        head_with_classes(load(tmp_path / "one.pt", 1), ("a",))


@pytest.mark.parametrize("beside", [{"classes": ["x", "y"]}, {"class_to_idx": {"y": 1, "x": 0}}])
def test_names_beside_the_weights(tmp_path: Path, beside: dict[str, object]) -> None:
    torch.save({"state_dict": network().state_dict(), **beside}, tmp_path / "x.pt")
    classifier = load(tmp_path / "x.pt")
    assert classifier.found is not None
    assert classifier.found.classes == ("x", "y")
    assert "'x', 'y'" in head_with_classes(classifier, ()).notes[-1].text
    with pytest.raises(ServiceError, match=r"in another order.*leave classes= out"):
        head_with_classes(classifier, ("y", "x"))
    assert "which the file calls 'x', 'y'" in head_with_classes(classifier, NAMES).notes[-1].text


def test_a_run_keeps_a_head_whose_classes_are_named_as_the_dataset_s(tmp_path: Path) -> None:
    """The rows come in the order of the dataset; without names, or with others, only a fresh head is possible."""
    module = network()
    torch.save({"state_dict": module.state_dict(), "classes": ["dog", "cat"]}, tmp_path / "x.pt")
    classifier = head_for_dataset(load(tmp_path / "x.pt"), "keep", "pets", NAMES)
    compare(classifier, logits_of(module, images())[:, [1, 0]], images())
    said = [note.text for note in classifier.notes]
    assert any("was kept, its rows known by name" in text for text in said)
    assert any("put in the order of dataset 'pets'" in text for text in said)
    with pytest.raises(ServiceError, match="knows the classes dog, cat") as caught:
        head_for_dataset(load(tmp_path / "x.pt"), "keep", "pets", ("wolf", "cat"))
    assert caught.value.kind is ErrorKind.OTHER_CLASSES
    fresh = head_for_dataset(load(tmp_path / "x.pt"), "new", "pets", NAMES)
    assert (fresh.head_origin, fresh.notes[-1].text) == (
        "new",
        f"the head was drawn afresh; the one of {tmp_path / 'x.pt'} was left out",
    )
    torch.save(module.state_dict(), tmp_path / "nameless.pt")
    with pytest.raises(ServiceError, match=r"2 rows, and they do not name its classes; .*head='new'.*import_"):
        head_for_dataset(load(tmp_path / "nameless.pt"), "keep", "pets", NAMES)
    with pytest.raises(ServiceError, match="dataset 'pets' has 3 classes"):
        head_for_dataset(load(tmp_path / "nameless.pt", 3), "keep", "pets", (*NAMES, "owl"))
    body = {name: one for name, one in module.state_dict().items() if not name.startswith("fc.")}
    torch.save(body, tmp_path / "body.pt")
    drawn = head_for_dataset(load(tmp_path / "body.pt"), "keep", "pets", NAMES)
    assert "drawn afresh: the files of the backbone hold none" in drawn.notes[-1].text


def test_another_architecture_is_named_with_what_it_looks_like(tmp_path: Path) -> None:
    torch.save({f"model.{n}": one for n, one in network(name="test_resnet").state_dict().items()}, tmp_path / "x.pt")
    with pytest.raises(ServiceError, match=r"tensors are missing .*they look like test_resnet") as caught:
        load(tmp_path / "x.pt", name="test_efficientnet")
    assert caught.value.kind is ErrorKind.WEIGHTS_UNAVAILABLE


@pytest.mark.parametrize("names", [["cat", "dog"], None])
def test_a_directory_of_timm_has_its_head_and_the_names_of_its_classes(tmp_path: Path, names: list[str] | None) -> None:
    module = timm_directory(tmp_path / "model", label_names=names)
    classifier = load_backbone(str(tmp_path / "model"), 0, pretrained=True, seed=0, image_size=SIDE)
    assert classifier.found is not None
    assert classifier.found.classes == tuple(names or ())
    compare(head_with_classes(classifier, () if names else NAMES), logits_of(module, images()), images())


def text_directory(path: Path, kind: str = "bert", n_classes: int = 3, **config) -> Classifier:
    """A directory of a trained classifier of texts, as transformers saves it."""
    if kind == "llama":
        name = write_decoder(path, kind, bos_token_id=2, eos_token_id=3, num_key_value_heads=1)
    else:
        name = write_text_model(path, kind, n_layers=1, n_heads=2, dim=16, hidden_dim=32, max_position_embeddings=34)
    classifier = load_backbone(name, n_classes, pretrained=False, seed=4, max_tokens=8)
    nn.init.normal_(classifier.head.weight)
    classifier.module.config.update(config)  # pyright: ignore
    classifier.module.save_pretrained(path)  # pyright: ignore
    return classifier


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "llama"])
def test_a_directory_of_transformers_has_its_trained_classifier(tmp_path: Path, kind: str) -> None:
    names = {0: "anger", 1: "joy", 2: "fear"}
    original = text_directory(tmp_path, kind, id2label=names, label2id={name: i for i, name in names.items()})
    classifier = load_backbone(str(tmp_path), 0, pretrained=True, seed=0, max_tokens=8)
    assert classifier.found is not None
    assert classifier.found.classes == ("anger", "joy", "fear")
    batch = original.preprocessing.to_batch(original.preprocessing.probe(), CPU)
    with torch.inference_mode():
        compare(head_with_classes(classifier, ()), original.module.eval()(**batch).logits, batch)


def test_a_directory_of_transformers_without_names_or_head(tmp_path: Path) -> None:
    text_directory(tmp_path)
    classifier = load_backbone(str(tmp_path), 0, pretrained=True, seed=0, max_tokens=8)
    with pytest.raises(ServiceError, match="3 rows, and nobody says"):
        head_with_classes(classifier, ())
    assert head_with_classes(classifier, ("a", "b", "c")).n_classes == 3
    two = load_backbone(str(tmp_path), 2, pretrained=True, seed=0, max_tokens=8)
    with pytest.raises(ServiceError, match="a head of 3 rows, and dataset 'pets' has 2 classes"):
        head_for_dataset(two, "keep", "pets", NAMES)
    module = load_backbone(str(tmp_path), 3, pretrained=True, seed=0, max_tokens=8).module
    module.base_model.save_pretrained(tmp_path)  # pyright: ignore
    bare = load_backbone(str(tmp_path), 2, pretrained=True, seed=0, max_tokens=8)
    assert bare.found is None
    assert load_backbone(str(tmp_path), 2, pretrained=True, seed=0, max_tokens=8, pooling="mean").found is None


def test_a_directory_of_images_of_transformers(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
    name = write_config(tmp_path, "vit", image_size=SIDE, patch_size=8, **sizes)
    original = load_backbone(name, 2, pretrained=False, seed=4, image_size=SIDE)
    original.module.save_pretrained(tmp_path)  # pyright: ignore
    classifier = head_with_classes(load_backbone(name, 0, pretrained=True, seed=0, image_size=SIDE), NAMES)
    with torch.inference_mode():
        expected = original.module.eval()(pixel_values=images()).logits
        assert_allclose(classifier.logits(images()).numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("form", ["whole", "lightning", "subpopbench"])
def test_a_file_of_a_text_model(tmp_path: Path, form: str) -> None:
    """The architecture from a directory, the weights from a file; also as a bare encoder and a head."""
    original = text_directory(tmp_path / "model")
    state = original.module.state_dict()
    if form == "lightning":
        torch.save({"state_dict": {f"model.{name}": one for name, one in state.items()}}, tmp_path / "x")
    elif form == "subpopbench":
        inner = {f"network.0.model.{name.removeprefix('bert.')}": one for name, one in state.items() if "bert." in name}
        head = {f"network.1.{part}": state[f"classifier.{part}"] for part in ("weight", "bias")}
        torch.save({"model_dict": inner | head}, tmp_path / "x")
    else:
        torch.save(state, tmp_path / "x")
    classifier = head_with_classes(load(tmp_path / "x", 3, name=str(tmp_path / "model")), ("a", "b", "c"))
    batch = original.preprocessing.to_batch(original.preprocessing.probe(), CPU)
    with torch.inference_mode():
        compare(classifier, original.module.eval()(**batch).logits, batch)


def test_a_convolution_as_head(tmp_path: Path) -> None:
    """A 1 x 1 convolution over pooled maps is the same function as a linear layer."""
    torch.manual_seed(3)
    import timm

    module = timm.create_model("dla46_c", num_classes=2).eval()
    torch.save(module.state_dict(), tmp_path / "x.pt")
    classifier = head_with_classes(load(tmp_path / "x.pt", name="dla46_c"), NAMES)
    compare(replace(classifier), logits_of(module, images()), images())
