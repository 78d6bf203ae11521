"""Files of models as other programs write them, each with the module whose logits they stand for."""

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

State = dict[str, Tensor]
SIDE = 32


def network(n_classes: int = 2, seed: int = 0, name: str = "test_resnet") -> nn.Module:
    """A small network of timm whose batch normalisation has seen data: its buffers are not those of a new one."""
    torch.manual_seed(seed)
    module = timm.create_model(name, num_classes=n_classes)
    for parameter in module.get_classifier().parameters():
        nn.init.normal_(parameter)
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(4, 3, SIDE, SIDE) * 2 + 1)
    return module.eval()


def images(n: int = 5) -> Tensor:
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


class EarlyStopper:
    """An object of a training program's own."""

    def __init__(self) -> None:
        self.best, self.scores = 0.5, [0.1, 0.2]


class LightningLike(nn.Module):
    """A LightningModule's parts: a network under a name, a loss with weights, a counter of a metric."""

    def __init__(self, body: nn.Module, under: str = "model") -> None:
        super().__init__()
        setattr(self, under, body)
        self.loss = nn.CrossEntropyLoss(weight=torch.tensor([0.3, 0.7]))
        self.register_buffer("accuracy_total", torch.tensor(3))


def lightning(state: State, **more: Any) -> dict[str, Any]:
    """The dictionary of ``Trainer.save_checkpoint`` of pytorch_lightning 2."""
    return {
        "epoch": 1,
        "global_step": 40,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 2}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.9), "dirpath": "x"}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(4.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "arch": "resnet", "sizes": (1, 2)},
    } | more


class SubpopLike(nn.Module):
    """SubpopBench's ERM: a featurizer that holds a network, a classifier, and both again as a sequence."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        head = copy.deepcopy(body.get_classifier())
        body = copy.deepcopy(body)
        body.reset_classifier(0)
        self.featurizer = nn.Module()
        self.featurizer.network = body
        self.featurizer.forward = body.forward
        self.classifier = head
        self.network = nn.Sequential(self.featurizer, self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.featurizer.network(x))


class Apart(nn.Module):
    """A backbone without head, and a head of its own name."""

    def __init__(self, body: nn.Module, *, bias: bool = True) -> None:
        super().__init__()
        head = body.get_classifier()
        self.backbone = copy.deepcopy(body)
        self.backbone.reset_classifier(0)
        self.linear = nn.Linear(head.in_features, head.out_features, bias=bias)
        nn.init.normal_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.backbone(x))


Writer = Callable[[Path], nn.Module]


def _saved(make: Callable[[nn.Module], Any]) -> Writer:
    def write(path: Path) -> nn.Module:
        module = network()
        torch.save(make(module), path)
        return module

    return write


def _safetensors(path: Path) -> nn.Module:
    module = network()
    save_file(module.state_dict(), path)
    return module


def _half(dtype: torch.dtype) -> Writer:
    """The original is the network with the rounded weights, in float32."""

    def write(path: Path) -> nn.Module:
        module = network().to(dtype)
        torch.save(module.state_dict(), path)
        return module.float()

    return write


def _wrapped(wrap: Callable[[nn.Module], nn.Module], save: Callable[[State], Any] = lambda state: state) -> Writer:
    def write(path: Path) -> nn.Module:
        module = wrap(network()).eval()
        torch.save(save(module.state_dict()), path)
        return module

    return write


def _ema(path: Path) -> nn.Module:
    module, averaged = network(seed=1), network(seed=2)
    state = {
        "epoch": 3,
        "arch": "test_resnet",
        "state_dict": module.state_dict(),
        "state_dict_ema": averaged.state_dict(),
    }
    torch.save(state, path)
    return averaged


def _in_double_wrapper(module: nn.Module) -> nn.Module:
    return LightningLike(nn.DataParallel(module), under="net")


def _shared_storage(path: Path) -> nn.Module:
    """All tensors are views of one storage, as after flattening for an optimiser."""
    module = network()
    state = {name: one for name, one in module.state_dict().items() if one.is_floating_point()}
    flat = torch.cat([one.flatten() for one in state.values()])
    views: State = {}
    start = 0
    for name, one in state.items():
        views[name] = flat[start : start + one.numel()].view(one.shape)
        start += one.numel()
    torch.save(views | {n: one.t() if one.ndim == 2 else one for n, one in ()}, path)
    return module


def _transposed(path: Path) -> nn.Module:
    """A tensor whose values lie in another order than its rows."""
    module = network()
    state = module.state_dict()
    head = next(name for name, one in state.items() if one.ndim == 2)
    torch.save(state | {head: state[head].t().contiguous().t()}, path)
    return module


FILES: dict[str, Writer] = {
    "safetensors": _safetensors,
    "state dict": _saved(lambda module: module.state_dict()),
    "legacy format": lambda path: _legacy(path),
    "protocol 4": lambda path: _protocol(path, 4),
    "parameters": _saved(lambda module: dict(module.named_parameters()) | dict(module.named_buffers())),
    "lightning model.": _wrapped(LightningLike, lightning),
    "lightning net.module.": _wrapped(_in_double_wrapper, lightning),
    "lightning backbone.": _wrapped(lambda module: LightningLike(module, "backbone"), lightning),
    "data parallel": _wrapped(nn.DataParallel),
    "module.model.": _wrapped(lambda module: nn.DataParallel(LightningLike(module))),
    "timm state_dict": _saved(lambda module: {"epoch": 2, "arch": "x", "state_dict": module.state_dict()}),
    "timm model": _saved(lambda module: {"model": module.state_dict(), "optimizer": {"state": {}}}),
    "timm averaged": _ema,
    "subpopbench": _wrapped(SubpopLike, lambda state: {"args": {"seed": 0}, "model_dict": state}),
    "wilds": _wrapped(
        lambda module: LightningLike(module), lambda state: {"algorithm": state, "epoch": 3, "best_val_metric": 0.9}
    ),
    "head apart": _wrapped(Apart),
    "head apart without bias": _wrapped(lambda module: Apart(module, bias=False)),
    "float16": _half(torch.float16),
    "bfloat16": _half(torch.bfloat16),
    "float64": _saved(
        lambda module: {
            name: one.double() if one.is_floating_point() else one for name, one in module.state_dict().items()
        }
    ),
    "one storage": _shared_storage,
    "another order of values": _transposed,
}
"""Writers by what they write."""
FOREIGN: dict[str, Writer] = {
    "timm arguments": _saved(
        lambda module: {"args": argparse.Namespace(lr=1, seed=[1, 2]), "state_dict": module.state_dict()}
    ),
    "subpopbench": _wrapped(SubpopLike, lambda state: {"early_stopper": EarlyStopper(), "model_dict": state}),
    "lightning callback": _wrapped(
        LightningLike, lambda state: lightning(state, callbacks={EarlyStopper: EarlyStopper()})
    ),
    "legacy": lambda path: _legacy(path, {"stopper": EarlyStopper()}),
}
"""Files that hold other objects beside the tensors."""


def _legacy(path: Path, more: dict[str, Any] | None = None) -> nn.Module:
    module = network()
    content = {"state_dict": module.state_dict(), **more} if more else module.state_dict()
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return module


def _protocol(path: Path, protocol: int) -> nn.Module:
    module = network()
    torch.save(module.state_dict(), path, pickle_protocol=protocol)
    return module


def logits_of(module: nn.Module, batch: Any) -> Tensor:
    """The original's own logits; a LightningLike is called through its network."""
    inner = module
    while (
        not isinstance(inner, SubpopLike | Apart)
        and len(
            found := [one for name, one in inner.named_children() if name in ("model", "net", "backbone", "module")]
        )
        == 1
    ):
        inner = found[0]
    with torch.inference_mode():
        return inner.eval()(batch)


def timm_directory(path: Path, *, label_names: list[str] | None = None, n_classes: int = 2) -> nn.Module:
    """As ``timm.models.save_for_hf`` writes one."""
    module = network(n_classes)
    config: dict[str, Any] = {"label_names": label_names} if label_names else {}
    timm.models.save_for_hf(module, path, model_config=config, safe_serialization=True)
    return module


def tied(path: Path) -> None:
    """Two names of one tensor, as safetensors keeps them: the second is left out."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(3, 3)
            self.other = nn.Linear(3, 3)
            self.other.weight = self.one.weight

    save_model(Tied(), str(path))


def described(path: Path) -> dict[str, Any]:
    return json.loads((path / "config.json").read_text(encoding="utf-8"))
