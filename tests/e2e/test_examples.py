"""The scripts of client/examples as a user runs them, on small images; what they print against direct questions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penult

EXAMPLES = Path(__file__).parents[2] / "client" / "examples"
SMALL = ("--dataset", "shapes", "--backbone", "test_resnet", "--random-weights")
RECIPE = {"dataset": "shapes", "backbone": "test_resnet", "pretrained": False}


@pytest.fixture(scope="module")
def client(client_alone):
    """Its jobs are counted."""
    return client_alone


@pytest.fixture(scope="module")
def store(client, table) -> Path:
    """A store that knows the small images; its server stays for as long as the tests of this file."""
    client.datasets.register("shapes", table)
    return Path(client.info().root)


def printed(script: str, store: Path, *options: str) -> list[str]:
    """What a script prints, run from its command line; a warning fails it."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / script), "--store", str(store), *SMALL, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=store)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def numbers(line: str) -> list[float]:
    """The numbers in a line of a table."""
    words = line.replace("/", " ").split()
    return [float(word) for word in words if word.lstrip("+-").replace(".", "", 1).isdigit()]


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_example_says_what_it_asks_and_what_to_expect(script):
    text = (EXAMPLES / script).read_text()
    docstring = compile(text, script, "exec").co_consts[0]
    assert docstring.splitlines()[0].endswith("?")
    for said in ("Data:", "What the answer means:", f"python {script}", "Expected"):
        assert said in docstring
    assert "penult." in text
    assert "penult_" not in text


@pytest.mark.timeout(600)
def test_which_balancing(client, store):
    _, *lines = printed("which_balancing.py", store, "--seeds", "2", "--epochs", "1", "--image-size", "16")
    methods = ["none", "subsetting", "upsampling", "upweighting", "mixture"]
    assert [line.split()[0] for line in lines] == methods
    settings = {name: {"by": "group"} for name in methods} | {"none": {}, "mixture": {"by": "group", "ratio": 4}}
    runs = [
        client.finetune(
            **RECIPE, balance=name, **settings[name], epochs=1, inputs=penult.Images(size=16), seed=seed
        ).wait()
        for name in methods
        for seed in (0, 1)
    ]
    worst = np.array([run.metrics("test").worst_group_accuracy for run in runs]).reshape(5, 2)
    average = np.array([run.metrics("test").average_accuracy for run in runs]).reshape(5, 2)
    for i, line in enumerate(lines):
        gain = worst[i] - worst[0]
        expected = [
            runs[2 * i].n_train_examples,
            average[i].mean(),
            worst[i].mean(),
            abs(worst[i, 0] - worst[i, 1]) / np.sqrt(2),
            gain.mean(),
            abs(gain[0] - gain[1]) / 2,
        ]
        np.testing.assert_allclose(numbers(line)[:6], expected, atol=0.0005001)
    assert sum(numbers(line)[6] for line in lines) == 2
    # Six of each group are left.
    assert numbers(lines[1])[0] == 24
    assert len(client.jobs.list(states=["succeeded"])) == 11


def test_is_this_imbalance_real(client, store):
    lines = printed("is_this_imbalance_real.py", store, "--epochs", "1", "--replicates", "40", "--n", "5", "9")
    run = client.finetune(**RECIPE, epochs=1, seed=0).wait()
    sets = client.extract(run.checkpoints[-1], splits=["train", "test"]).wait()
    spectra = client.spectra(sets["train"], top_k=1, replicates=40, seed=0)
    assert len(lines) == 8
    for line, entry in zip(lines[1:3], spectra.imbalance, strict=True):
        assert line.startswith(entry.minority)
        sizes, (rho, low, high), matched = numbers(line)[:2], numbers(line)[2:5], numbers(line)[5:]
        assert sizes == [entry.n_minority, entry.n_majority] == [6, 30]
        np.testing.assert_allclose([rho, *matched], measured(entry), atol=0.005001)
        np.testing.assert_allclose([low, high], size_alone(client.features.read(sets["train"]), entry), atol=0.005001)
        # The service draws its own subsets of the majority: their median lies well inside.
        assert low < entry.ratio / entry.matched_ratio < high
    test = client.features.read(sets["test"])
    minorities = [entry.minority_index for entry in spectra.imbalance]
    for n, of_n in ((5, lines[4:6]), (9, lines[6:8])):
        place = np.array([np.count_nonzero(test.g[:i] == g) for i, g in enumerate(test.g)])
        rows = test.row_id[(place < n) | ~np.isin(test.g, minorities)]
        entries = client.spectra(sets["test"], rows=rows, top_k=1, replicates=40, seed=0).imbalance
        for line, entry in zip(of_n, entries, strict=True):
            assert line.startswith(entry.minority)
            np.testing.assert_allclose(numbers(line), [n, 10, *measured(entry)], atol=0.005001)


def measured(entry: penult.Imbalance) -> list[float]:
    return [entry.ratio, entry.matched_ratio, entry.low, entry.high, entry.p_adjusted]


def size_alone(features: penult.Features, entry: penult.Imbalance) -> np.ndarray:
    """The example's 40 draws, by another way to the largest eigenvalue."""
    majority = features.features[features.g == entry.majority_index].astype(np.float64)
    rng = np.random.default_rng(0)
    draws = [rng.choice(majority, entry.n_minority, replace=False) for _ in range(40)]
    tops = [np.linalg.eigvalsh(np.cov(rows.T, bias=True))[-1] for rows in (*draws, majority)]
    return np.quantile(np.array(tops[:-1]) / tops[-1], [0.05, 0.95])


def test_hidden_groups(client, store):
    lines = printed("hidden_groups.py", store, "--epochs", "1", "--methods", "regularised_errors", "spuriosity")
    run = client.finetune(**RECIPE, balance="none", epochs=1, seed=0).wait()
    sets = client.extract(run.checkpoints[-1]).wait()
    methods = ["regularised_errors", "spuriosity"]
    table = client.discover_all(sets["val"], fit=sets["train"], test=sets["test"], methods=methods)
    # But for the seconds, the last column.
    for line, expected in zip(lines, repr(table).splitlines(), strict=True):
        assert line.split()[:-1] == expected.split()[:-1]
    assert [line.split()[0] for line in lines[1:6]] == ["none", "classes", "true", *methods]


@pytest.mark.timeout(600)
def test_lp_ft(client, store):
    _, probed, *lines = printed("lp_ft.py", store, "--seeds", "2", "--epochs", "1", "--l2", "0.1")
    fresh = client.finetune(**RECIPE, epochs=0, seed=0).wait().checkpoints[0]
    sets = client.extract(fresh, splits=["train", "test"]).wait()
    probe = client.refit(sets["train"], preset="erm", l2=0.1, evaluate={"test": sets["test"]})
    said = probe.metrics["test"]
    expected = [said.average_accuracy, said.worst_group_accuracy]
    np.testing.assert_allclose(numbers(probed.replace("-", "")), expected, atol=0.0005001)
    recipe = {"dataset": "shapes", "epochs": 1, "optimizer": penult.AdamW(learning_rate=3e-4), "evaluate": ["test"]}
    for line, start in zip(lines, (fresh, probe), strict=True):
        runs = [client.finetune(**recipe, start=start, seed=seed).wait() for seed in (0, 1)]
        average, worst = (
            np.array([getattr(run.metrics("test"), name) for run in runs])
            for name in ("average_accuracy", "worst_group_accuracy")
        )
        expected = [average.mean(), average.std(ddof=1), worst.mean(), worst.std(ddof=1)]
        np.testing.assert_allclose(numbers(line), expected, atol=0.0005001)


def test_refit_every_epoch(client, store, tmp_path):
    figure = tmp_path / "epochs.png"
    options = ("--epochs", "2", "--preset", "dfr_l2", "--plot", str(figure))
    _, *lines, last = printed("refit_every_epoch.py", store, *options)
    assert last == f"drawn in {figure}"
    run = client.finetune(**RECIPE, epochs=2, seed=0).wait()
    assert len(lines) == len(run.checkpoints) == 3
    for line, checkpoint in zip(lines, run.checkpoints, strict=True):
        sets = client.extract(checkpoint, splits=["val", "test"]).wait()
        refit = client.refit(sets["val"], preset="dfr_l2", evaluate={"test": sets["test"]}).metrics["test"]
        own = client.evaluate(checkpoint, sets["test"])
        expected = [checkpoint.epoch, own.worst_group_accuracy, refit.worst_group_accuracy]
        np.testing.assert_allclose(numbers(line), expected, atol=0.0005001)
    with Image.open(figure) as image:
        assert image.size == (750, 540)
        assert len(image.convert("RGB").getcolors(maxcolors=2**24) or []) > 20


@pytest.mark.slow  # pytest -m slow tests/e2e/test_examples.py
@pytest.mark.timeout(600)
def test_soup(client, store):
    lines = printed("soup.py", store, "--small", "--runs", "2", "--bn-count", "16", "--line", "0.5")
    names = ["run 0", "run 1", "uniform soup", "uniform soup, statistics averaged", "greedy soup"]
    names.append("probe to uniform soup, t = 0.5")
    assert [line[:36].strip() for line in lines[1:8]] == [*names, "ensemble of the outputs"]
    soups = {job.result.origin.method: job.result.checkpoint for job in client.jobs.list(kind="merge")}
    sets = client.extract(soups["greedy"], splits=["test"]).wait()
    direct = client.evaluate(soups["greedy"], sets["test"]).average_accuracy
    assert numbers(lines[5][36:])[0] == pytest.approx(direct, abs=6e-4)
    assert [line.split(",")[0] for line in lines[8:]] == ["barrier"] * 5


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("script", "options", "figures"),
    [
        ("labonte2024.py", ("--ratios", "2"), ("epochs", "mixture", "backbones", "spectra", "imbalance")),
        ("hill2026.py", ("--ratios", "0.2", "1"), ("ratios", "collapse", "margins", "margin-head", "separation")),
    ],
)
def test_the_figures_of_a_paper(store, tmp_path, script, options, figures):
    """Whole scripts on small images: pytest -m slow tests/e2e/test_examples.py; their figures alone are quick tests."""
    begin = tmp_path / "paper"
    few = ("--seeds", "2", "--epochs", "1", "--image-size", "16", "--plots", str(begin))
    lines = printed(script, store, *few, *options)
    assert lines[:5] == [f"drawn in {begin}-{place}-{name}.png" for place, name in enumerate(figures, start=1)]
    assert lines[5].startswith(r"\begin{tabular}")
    for place, name in enumerate(figures, start=1):
        with Image.open(f"{begin}-{place}-{name}.png") as image:
            assert len(image.convert("RGB").getcolors(maxcolors=2**24) or []) > 20
