"""Every way to find groups on small real data, images and texts, as a table: `client.discover_all`.

    python tests/benchmarks/discovery_table.py images --root STORE
    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    python tests/benchmarks/discovery_table.py texts --root STORE --vader vaderSentiment-3.3.2.tar.gz

Images: footwear by the demo's network. Texts: the sentences of `balancing_table.py`, in training 95 % of each sentiment
from one source. Features are those of networks that are not finetuned. Groups are found in training rows and balanced
there; the worst of the true groups is measured on test.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from balancing_table import SOURCES, read_sentences, write_lines

import penult

TEXTS = {"train": (190, 10, 10, 190), "val": (60, 60, 60, 60), "test": (100, 100, 100, 100)}
"""Sentences of each group: negative editorial, negative review, positive editorial, positive review."""


def image_sets(client: penult.Client) -> dict[str, penult.FeatureSet]:
    """Features of the demo's network, which is not trained for this."""
    run = client.finetune(dataset="footwear", backbone="tf_efficientnet_lite0", epochs=0, seed=0).wait()
    return dict(client.extract(run.checkpoints[0]).wait())


def text_sets(client: penult.Client, directory: Path, vader: Path) -> dict[str, penult.FeatureSet]:
    """Features of the packaged MiniLM for sentences whose source goes with their sentiment."""
    directory.mkdir(parents=True, exist_ok=True)
    client.datasets.register("reviews", write_texts(directory, vader))
    texts = penult.Texts(max_tokens=40)
    run = client.finetune(dataset="reviews", backbone="all-MiniLM-L6-v2", inputs=texts, epochs=0, seed=0).wait()
    return dict(client.extract(run.checkpoints[0]).wait())


def write_texts(directory: Path, vader: Path) -> Path:
    """A table of sentences: class is their sentiment, attribute where they come from."""
    rng = np.random.default_rng(0)
    rows = ["text,y,source,split"]
    for a, sentences in enumerate(read_sentences(vader)):
        for y in (0, 1):
            texts = [text for rating, text in sentences if (rating >= 0.5 if y else rating <= -0.5)]
            texts = [texts[index] for index in rng.permutation(len(texts))]
            for split, sizes in TEXTS.items():
                taken, texts = texts[: sizes[2 * y + a]], texts[sizes[2 * y + a] :]
                if len(taken) < sizes[2 * y + a]:
                    raise SystemExit(f"{SOURCES[a]} has too few sentences of class {y}")
                cells = [(text, ("negative", "positive")[y], ("editorial", "review")[a], split) for text in taken]
                rows += [",".join(json.dumps(cell).replace('\\"', '""') for cell in row) for row in cells]
    return write_lines(directory, rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("images", "texts"))
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--vader", type=Path)
    given = parser.parse_args()
    with penult.local(given.root) as client:
        if given.data == "images":
            sets = image_sets(client)
        else:
            sets = text_sets(client, given.root.with_name(f"{given.root.name}-texts"), given.vader)
        print(client.discover_all(sets["train"], test=sets["test"], other=sets["val"], preset="dfr_l2"))


if __name__ == "__main__":
    main()
