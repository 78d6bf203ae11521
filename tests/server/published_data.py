"""Small copies of published datasets in the very files that their owners distribute."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image

from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.reading import PUBLISHED_LAYOUTS, read_layout
from penult_server.datasets.model import Dataset
from penult_server.datasets.registration import Request, register
from penult_server.datasets.rows import Rows
from penult_server.datasets.stored import RegisteredDataset

Layout = StrEnum("Layout", [(name.upper(), name) for name in PUBLISHED_LAYOUTS])
SPLITS = ("train", "val", "test")
CELEBA_ATTRIBUTES = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]
IDENTITIES = ("male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white")
MULTINLI_FILES = ("multinli_1.0_train.jsonl", "multinli_1.0_dev_matched.jsonl", "multinli_1.0_dev_mismatched.jsonl")
LABELS = ("contradiction", "entailment", "neutral")


def each_group(n: int, n_groups: int = 4) -> list[tuple[int, int]]:
    """Split and group of `n` examples of every group in every split, interleaved."""
    return [(split, group) for _ in range(n) for group in range(n_groups) for split in range(3)]


def save_picture(path: Path, y: int, a: int, seed: int, side: int = 16) -> None:
    pixels = np.random.default_rng(seed).integers(0, 60, (side, side, 3))
    pixels[:, :, a] += 90
    pixels[4:12, 4:12] += 60 * y
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)


def make_waterbirds(directory: Path, n: int = 3) -> Path:
    """metadata.csv and images of two species."""
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for i, (split, group) in enumerate(each_group(n), start=1):
        y, place = divmod(group, 2)
        name = f"{('064.Ring_billed_Gull', '001.Black_footed_Albatross')[y]}/Bird_{i:04d}.jpg"
        save_picture(directory / name, y, place, seed=i)
        lines.append(f"{i},{name},{y},{split},{place},/{'fo'[place]}/forest/0000{i}.jpg")
    (directory / "metadata.csv").write_text("\n".join(lines) + "\n")
    return directory


def make_celeba(directory: Path, n: int = 3, *, as_csv: bool = False, images: bool = True) -> Path:
    """Both lists and the images; as text with two lines before the attributes, or as CSV with a header."""
    names: list[str] = []
    attributes: list[list[str]] = []
    splits: list[int] = []
    for i, (split, group) in enumerate(each_group(n), start=1):
        y, male = divmod(group, 2)
        values = dict.fromkeys(CELEBA_ATTRIBUTES, "-1") | {"Young": "1"}
        values |= {"Blond_Hair": ("-1", "1")[y], "Male": ("-1", "1")[male]}
        names.append(f"{i:06d}.jpg")
        attributes.append([values[name] for name in CELEBA_ATTRIBUTES])
        splits.append(split)
        folder = "img_align_celeba/img_align_celeba" if as_csv else "img_align_celeba"
        if images:
            save_picture(directory / folder / names[-1], y, male, seed=i)
    directory.mkdir(parents=True, exist_ok=True)
    if as_csv:
        _write_celeba_csv(directory, names, attributes, splits)
    else:
        _write_celeba_txt(directory, names, attributes, splits)
    return directory


def _write_celeba_csv(directory: Path, names: list[str], attributes: list[list[str]], splits: list[int]) -> None:
    rows = [",".join([name, *values]) for name, values in zip(names, attributes, strict=True)]
    (directory / "list_attr_celeba.csv").write_text("\n".join([",".join(["image_id", *CELEBA_ATTRIBUTES]), *rows]))
    lines = [f"{name},{split}" for name, split in zip(names, splits, strict=True)]
    (directory / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *lines]) + "\n")


def _write_celeba_txt(directory: Path, names: list[str], attributes: list[list[str]], splits: list[int]) -> None:
    # As in the original: values are two characters wide, and the line of names ends in a blank.
    rows = [
        " ".join([name, *(value.rjust(2) for value in values)]) for name, values in zip(names, attributes, strict=True)
    ]
    head = [str(len(names)), " ".join(CELEBA_ATTRIBUTES) + " "]
    (directory / "list_attr_celeba.txt").write_text("\n".join([*head, *rows]) + "\n")
    # The other list in another order: they are joined by name.
    lines = [f"{name} {split}" for name, split in zip(names, splits, strict=True)]
    (directory / "list_eval_partition.txt").write_text("\n".join(reversed(lines)) + "\n")


def make_civilcomments(directory: Path, n: int = 3) -> Path:
    """all_data_with_identities.csv, with some of the many columns that are not read."""
    header = ["", "id", "comment_text", "split", "created_date", "toxicity", "severe_toxicity", *IDENTITIES]
    lines = [",".join(header)]
    for i, (split, group) in enumerate(each_group(n)):
        toxic, mentioned = divmod(group, 2)
        shares = [0.0] * 8
        if mentioned:
            shares[i % 8], shares[(i + 1) % 8], shares[(i + 2) % 8] = 0.5, 1.0, 0.4999
        toxicity = (0.49, 0.5)[toxic]
        text = f'"Comment {i}, they said ""{("fine", "awful")[toxic]}"".\nAnd a second line."'
        row = [str(7 * i), str(59848 + i), text, SPLITS[split], "2017-01-01", str(toxicity), "0.0", *map(str, shares)]
        lines.append(",".join(row))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "all_data_with_identities.csv").write_text("\n".join(lines) + "\n")
    return directory


def make_multinli(directory: Path, n: int = 3) -> Path:
    """metadata_random.csv, and three files of sentences, some of which have no agreed label."""
    directory.mkdir(parents=True, exist_ok=True)
    lines: list[dict] = []
    metadata = [",gold_label,sentence2_has_negation,split"]
    for split, group in each_group(n, 6):
        y, negation = divmod(group, 2)
        if len(lines) % 6 == 0:  # no agreed label: counted, but not in the metadata
            lines.append({"gold_label": "-", "sentence1": "Nobody agreed.", "sentence2": "They did not."})
        i = len(lines)
        hypothesis = f"{('It is', 'Never!')[negation]} the {('cat', 'dog', 'bird')[y]} number {i}."
        lines.append({"gold_label": LABELS[y], "sentence1": f"Premise {i}.", "sentence2": hypothesis})
        metadata.append(f"{i},{y},{negation},{split}")
    (directory / "metadata_random.csv").write_text("\n".join(metadata) + "\n")
    parts = np.array_split(np.arange(len(lines)), [len(lines) // 2, 3 * len(lines) // 4])
    for name, part in zip(MULTINLI_FILES, parts, strict=True):
        (directory / name).write_text(
            "".join(
                json.dumps({"genre": "fiction", "pairID": f"{i}n", "annotator_labels": ["neutral"]} | lines[i]) + "\n"
                for i in part
            )
        )
    return directory


MAKERS: dict[Layout, Callable[[Path], Path]] = {
    Layout.WATERBIRDS: make_waterbirds,
    Layout.CELEBA: make_celeba,
    Layout.CIVILCOMMENTS: make_civilcomments,
    Layout.MULTINLI: make_multinli,
}


def read(layout: Layout, source: Path) -> Rows:
    return read_layout(layout, source, Columns(), source / "unpacked")


def registered(layout: Layout, source: Path, out: Path) -> Dataset:
    request = Request(name="mine", source=source, layout=layout)
    info = register(request, out, lambda *_: None, lambda: None)
    return RegisteredDataset(out / info.digest)
