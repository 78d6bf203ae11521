"""What is measured of networks before they are merged: Fisher information and inputs, against autograd row by row."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from penult_kernels.weight_space.scores import score_factors
from penult_server.backbones.classifier import Classifier
from penult_server.merging.fisher import fisher_diagonal
from penult_server.merging.grams import input_grams
from penult_server.merging.row_gradients import squares_of

CPU = torch.device("cpu")


class Network(nn.Module):
    """Convolutions of several sorts, BatchNorm, a parameter that no layer holds, a layer that is called twice."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.depth = nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False)
        self.point = nn.Conv2d(8, 8, 1, stride=2)
        self.place = nn.Parameter(torch.randn(16, 8))
        self.twice = nn.Linear(8, 8)
        self.layer_norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu_(self.norm(self.stem(x)))
        x = self.point(torch.relu(self.depth(x))).flatten(2).transpose(1, 2) + self.place
        x = self.layer_norm(self.twice(torch.tanh(self.twice(x))))
        return self.head(self.dropout(x.mean(1)))


class Words(nn.Module):
    """Embeddings, of which a word may come twice in a text."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 6, padding_idx=0)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.words(ids.long())).mean(1))


class Rows:
    """Inputs that are tensors as they are."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def take(self, at: np.ndarray) -> list[torch.Tensor]:
        return [self.rows[int(one)] for one in at]


def classifier(module: nn.Module) -> Classifier:
    torch.manual_seed(0)
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.normal_()
            one.running_var.uniform_(0.5, 2)
            nn.init.normal_(one.weight)
    preprocessing = SimpleNamespace(to_batch=lambda items, device: torch.stack(items).to(device))
    return Classifier(
        name="toy", library="timm", module=module, head=module.head, head_name="head", preprocessing=preprocessing
    )


def by_brute_force(module: nn.Module, rows: torch.Tensor) -> dict[str, np.ndarray]:
    """E_x sum_c p_c (d log p_c / d theta)^2, a backward pass for every row and class."""
    module.eval()
    total = {name: torch.zeros_like(one, dtype=torch.float64) for name, one in module.named_parameters()}
    for row in rows:
        logs = module(row[None]).log_softmax(1)[0]
        for log in logs:
            found = torch.autograd.grad(log, list(module.parameters()), retain_graph=True)
            for one, gradient in zip(total.values(), found, strict=True):
                one += log.exp().item() * gradient.double() ** 2
    return {name: (one / len(rows)).numpy() for name, one in total.items()}


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_fisher_is_the_expectation_over_all_classes(n_classes: int):
    torch.manual_seed(n_classes)
    module, rows = Network(n_classes), torch.randn(37, 3, 16, 16)
    found = fisher_diagonal(
        classifier(module),
        Rows(rows),
        np.arange(37),
        {name for name, _ in module.named_parameters()},
        device=CPU,
        beat=lambda _: None,
    )
    expected = by_brute_force(module, rows)
    assert set(found) == set(expected)
    for name, one in expected.items():
        np.testing.assert_allclose(found[name], one, rtol=1e-3, atol=1e-5 * one.max(), err_msg=name)
    assert all(one.requires_grad and one.grad is None for one in module.parameters())


def test_fisher_of_words_counts_a_word_once_a_text():
    torch.manual_seed(0)
    module, rows = Words(), torch.randint(0, 10, (9, 12))
    found = fisher_diagonal(
        classifier(module), Rows(rows), np.arange(9), {"words.weight", "head.bias"}, device=CPU, beat=lambda _: None
    )
    expected = by_brute_force(module, rows)
    assert set(found) == {"words.weight", "head.bias"}
    for name, one in found.items():
        np.testing.assert_allclose(one, expected[name], rtol=1e-3, atol=1e-9, err_msg=name)


def test_the_inputs_of_layers_are_what_they_multiply():
    torch.manual_seed(0)
    module, rows = Network(2), torch.randn(33, 3, 16, 16)
    names = {name for name, _ in module.named_parameters()}
    found = input_grams(classifier(module), Rows(rows), np.arange(33), names, device=CPU, beat=lambda _: None)
    assert set(found) == {"stem.weight", "point.weight", "twice.weight", "head.weight"}
    module.eval()
    with torch.no_grad():
        made = module.stem(rows) - module.stem.bias[:, None, None]
    # |X w|^2 of a convolution's outputs, X the patches that it reads.
    weight = module.stem.weight.detach().flatten(1).double().numpy()
    expected = np.einsum("ncij,ndij->cd", made.double().numpy(), made.double().numpy())
    np.testing.assert_allclose(weight @ found["stem.weight"] @ weight.T, expected, rtol=1e-4, atol=1e-2)


def test_directions_of_the_scores_add_up_to_the_covariance_of_a_class():
    p = np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=20)
    p[0], p[1] = [1, 0, 0, 0, 0], [0, 0.5, 0, 0.5, 0]
    u = np.asarray(score_factors(p))
    assert u.shape == (20, 4, 5)
    expected = p[:, :, None] * np.eye(5) - p[:, :, None] * p[:, None, :]
    np.testing.assert_allclose(np.einsum("nrc,nrd->ncd", u, u), expected, atol=1e-15)
    with pytest.raises(ValueError, match="two classes"):
        score_factors(p[:, :1])


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "ReLU6": lambda: BatchNormAct2d(6, act_layer=nn.ReLU6),
    "SiLU": lambda: BatchNormAct2d(6, act_layer=nn.SiLU),
    "no activation": lambda: BatchNormAct2d(6, apply_act=False),
    "single channels": lambda: nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6),
    "groups of two": lambda: nn.Conv2d(6, 9, 3, padding=1, dilation=2, groups=3, bias=False),
    "padded as needed": lambda: Conv2dSame(6, 12, 3, stride=2, groups=6),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_squares_of_every_example(name: str):
    torch.manual_seed(0)
    layer, read = LAYERS[name]().eval(), 3 * torch.randn(4, 6, 9, 8)
    if isinstance(layer, nn.BatchNorm2d):
        for one in (layer.running_mean, layer.weight.data, layer.bias.data):
            one.normal_()
    gradient = torch.randn(layer(read).shape)
    own = dict(layer.named_parameters())
    expected = {key: torch.zeros_like(value) for key, value in own.items()}
    for one, made in zip(read, gradient, strict=True):
        found = torch.autograd.grad((layer(one[None]) * made).sum(), list(own.values()))
        for key, value in zip(own, found, strict=True):
            expected[key] += value**2
    with torch.no_grad():
        squares = squares_of(layer, read, gradient)
    assert set(squares) == set(expected)
    for key, value in squares.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-4)
