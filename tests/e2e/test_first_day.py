"""A first day: a model of one's own goes in from another machine and comes out repaired; both sides say the same."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import nn

import penult
from penult.certificates import make_certificate

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command for certificates")

SIDE = 16
CLASSES = ["bright", "dark"]
"""In the order of the head that was trained; the table has the other."""
SCRIPT = """
import json, sys
import penult

client = penult.connect(sys.argv[1], tls_ca="lab.pem")  # the token is in PENULT_TOKEN
checkpoint = client.checkpoints.import_(
    "erm.ckpt", backbone="test_resnet", dataset="shapes", classes=["bright", "dark"], image_size=16, name="our-erm"
).wait()
assert checkpoint.head == "kept" and client.checkpoints.get("our-erm") == checkpoint
sets = client.extract("our-erm").wait()
imbalance = client.spectra("shapes/train", by="group", top_k=5, replicates=20).imbalance
own = client.evaluate(checkpoint, sets["test"])
refit = client.refit(sets["val"], preset="dfr", evaluate={"test": sets["test"]}, name="repaired")
assert client.results.get("repaired").metrics["test"].worst_group_accuracy == refit.metrics["test"].worst_group_accuracy
client.checkpoints.export(checkpoint, "repaired", head=refit)
predictions = client.predictions(sets["test"], head=refit)
scores = refit.metrics["test"]
print(json.dumps({
    "own": [own.correct.tolist(), own.worst_group_accuracy],
    "correct": scores.correct.tolist(), "count": [group.count for group in scores.groups],
    "worst": scores.worst_group_accuracy,
    "worst_group": scores.worst_group.name, "groups": [group.name for group in scores.groups],
    "ratios": [entry.ratio for entry in imbalance], "probabilities": predictions.probabilities.tolist(),
}))
client.close()
assert "torch" not in sys.modules
"""


def trained(table: Path) -> nn.Module:
    """A small network, trained a little by a loop that knows nothing of penult."""
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    pixels, y, _ = examples(module, table, "train")
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(pixels), y).backward()
        optimizer.step()
    return module.eval()


def examples(module: nn.Module, table: Path, split: str) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Pixels as timm's own transform gives them, classes in the order of CLASSES, and names of groups."""
    transform = create_transform(**resolve_data_config({"input_size": (3, SIDE, SIDE), "crop_pct": 1.0}, model=module))
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    rows = [row for row in rows if row[3] == split]
    pixels = torch.stack([transform(Image.open(table.parent / row[0])) for row in rows])
    return pixels, torch.tensor([CLASSES.index(row[1]) for row in rows]), [f"{row[1]}, {row[2]}" for row in rows]


def by_group(correct: np.ndarray, groups: list[str]) -> dict[str, int]:
    return {group: int(correct[[one == group for one in groups]].sum()) for group in set(groups)}


def test_a_model_of_ones_own_is_repaired_and_taken_home(serve, table, tmp_path):
    certificate, key = make_certificate(["localhost", "127.0.0.1"], tmp_path / "server")
    server = serve(tmp_path / "store", "--tls-cert", str(certificate), "--tls-key", str(key), tls_ca=certificate)
    with server.connect(tls_ca=certificate) as client:
        client.datasets.register("shapes", table)

    # Another machine's folder: nothing of the server's but its certificate and its token.
    home = tmp_path / "laptop"
    home.mkdir()
    shutil.copy(certificate, home / "lab.pem")
    module = trained(table)
    state = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    torch.save({"epoch": 9, "global_step": 10, "state_dict": state, "loops": {}}, home / "erm.ckpt")
    environment = {"HOME": str(home), "PENULT_TOKEN": server.record["token"], "PATH": "/usr/bin:/bin"}
    environment |= {"PYTHONPATH": ":".join(sys.path), "XDG_STATE_HOME": str(home / "state")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, server.record["address"]],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    with (
        pytest.raises(penult.Unauthenticated),
        server.connect(tls_ca=certificate, token="wrong") as stranger,
    ):
        stranger.checkpoints.import_(home / "erm.ckpt", backbone="test_resnet", classes=CLASSES)

    # Its own head scores as the network does in its own framework.
    pixels, y, groups = examples(module, table, "test")
    with torch.inference_mode():
        own = by_group((module(pixels).argmax(1) == y).numpy(), groups)
    assert dict(zip(said["groups"], said["own"][0], strict=True)) == own

    # What came out is loaded by timm alone, and its worst group is what the service said.
    repaired = timm.create_model(f"local-dir:{home / 'repaired'}", pretrained=True).eval()
    config = json.loads((home / "repaired" / "config.json").read_text())
    with torch.inference_mode():
        logits = repaired(examples(repaired, table, "test")[0])
    names = [config["label_names"][index] for index in logits.argmax(1).tolist()]
    correct = by_group(np.array([name == CLASSES[index] for name, index in zip(names, y, strict=True)]), groups)
    assert dict(zip(said["groups"], said["correct"], strict=True)) == correct
    counts = dict(zip(said["groups"], said["count"], strict=True))
    accuracies = {group: correct[group] / counts[group] for group in counts}
    assert min(accuracies.values()) == said["worst"] == accuracies[said["worst_group"]]
    # The table's classes are sorted as CLASSES happen to be; probabilities agree, not only decisions.
    np.testing.assert_allclose(logits.softmax(1).numpy(), said["probabilities"], atol=1e-4)
    assert len(said["ratios"]) == 2
    assert all(np.isfinite(said["ratios"]))
