"""A clean kernel runs the README's first steps on uploaded features: figures and tables show without any magic."""

import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = {
    "upload": """
import numpy as np
import penult

rng = np.random.default_rng(0)
counts = {(0, 0): 120, (0, 1): 20, (1, 0): 30, (1, 1): 110}
y, a = (np.concatenate([np.full(n, pair[i]) for pair, n in counts.items()]) for i in (0, 1))
X = rng.normal(size=(len(y), 16)) * (1 + a)[:, None] + 2 * y[:, None] + a[:, None]
client = penult.local("store")
mine = client.features.upload(
    features=X.astype(np.float32),
    y=y,
    a=a,
    classes=["sneaker", "ankle boot"],
    attribute="ground",
    attribute_values=["grass", "gravel"],
    name="mine",
)
mine""",
    "spectra": 'spectra = client.spectra(mine, by="group", top_k=10)\nspectra',
    "plot spectra": "spectra.plot()",
    "refit": 'refit = client.refit(mine, preset="dfr_l2", evaluate={"itself": mine})\nrefit',
    "plot refit": "refit.plot()",
    "metrics": 'refit.metrics["itself"]',
    "plot metrics": 'penult.plot_spectra(spectra, top_k=3).savefig("three.pdf")\nrefit.metrics["itself"].plot()',
    "with pyplot": "import matplotlib.pyplot as plt\nspectra.plot()",
    "close": "client.close()\nimport sys\nsorted({'torch', 'penult_kernels'} & set(sys.modules))",
}
"""What is written in each cell."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each cell shows as the value of its last expression, by kind; nothing else may have been written."""
    directory = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip()) for source in CELLS.values()])
    resources = {"metadata": {"path": str(directory)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENULT_PROGRESS", "0")  # shown after a second, which a busy machine needs for any cell
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    nbformat.write(notebook, directory / "first_steps.ipynb")
    shown: dict[str, Any] = {}
    for name, cell in zip(CELLS, notebook.cells, strict=True):
        (output,) = cell.outputs
        assert output.output_type == "execute_result", output
        shown[name] = output
    shown["directory"] = directory
    return shown


@pytest.mark.parametrize("cell", ["plot spectra", "plot refit", "plot metrics", "with pyplot"])
def test_a_plot_as_the_last_expression_is_a_picture(outputs: dict[str, Any], cell: str) -> None:
    output = outputs[cell]
    png = base64.b64decode(output.data["image/png"])
    assert png.startswith(b"\x89PNG")
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    assert width > 600
    assert height > 300
    if cell != "with pyplot":
        # Shown smaller than it is, so that it is sharp where pixels are small.
        assert output.metadata["image/png"]["width"] < width


def test_a_figure_is_matplotlib_s_and_can_be_written(outputs: dict[str, Any]) -> None:
    directory: Path = outputs["directory"]
    assert (directory / "three.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("upload", ["FeatureSet", "ankle boot, gravel", "110"]),
        ("spectra", ["Spectra by group", "sneaker, gravel / sneaker, grass", "20 / 120", "95% interval"]),
        ("refit", ["Refit", "itself accuracy [95 %]", "▼ worst", "gap"]),
        ("metrics", ["accuracy [95 %]", "▼ worst", "calibration error"]),
    ],
)
def test_a_record_as_the_last_expression_is_a_table(outputs: dict[str, Any], cell: str, said: list[str]) -> None:
    html = outputs[cell].data["text/html"]
    assert [one for one in said if one not in html] == []
    assert "<style" not in html
    assert "<script" not in html


def test_the_kernel_loads_no_framework(outputs: dict[str, Any]) -> None:
    assert outputs["close"].data["text/plain"] == "[]"
