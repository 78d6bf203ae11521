"""Code, comments, messages and manuals use the field's words; the table says which word to write instead of which."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SUFFIXES = (".py", ".cu", ".md", ".proto")


class Word(NamedTuple):
    pattern: str
    """Regular expression of what is not written."""
    instead: str
    """The word, or the kind of sentence, to write instead."""
    paths: tuple[str, ...]
    """Files and folders, from the root of the repository, in which that holds."""


EVERYWHERE = ("client", "kernels", "protos", "server")
KERNELS = ("kernels", "server/penult_server/compute")
SERVICE = ("client", "protos", *(f"server/penult_server/{name}" for name in ("backbones", "datasets", "extraction")))
SERVICE += tuple(f"server/penult_server/{name}" for name in ("finetuning", "front", "jobs", "registry", "stores"))
WORDS = [
    # Names
    Word(r"\bbeside\(", "asarray_like(", EVERYWHERE),
    Word(r"\bis_narrow|\bnarrow(ed)?\b|\b_narrow\b", "float32, in_float32, as_float32", EVERYWHERE),
    Word(r"\bwide = |\bwide\.", "float64, in_float64, logits64", EVERYWHERE),
    Word(r"\.share\b(?!\()|\.share\(\)|\bshare: Array\b|\bdef share\(self\)", "sample_weight (its sum is 1)", KERNELS),
    # "centre crop mean=" is part of the identity of stored checkpoints.
    Word(r"(?i)centr(e|ing)(?! crop mean=)", "center, centering", EVERYWHERE),
    Word(r"(?i)\bslopes?\b|_slopes?\b|\bslope_", "gradient, derivative (along a direction)", EVERYWHERE),
    Word(r"(?i)\bpull(s|ed|ing)?\b", "gradient; penalised towards a center", KERNELS),
    Word(r"(?i)\bbegun\b", "started; warm start", EVERYWHERE),
    Word(r"(?i)\bprov(e|es|ed|en|ing)\b|\bproofs?\b", "certify, certificate, check", EVERYWHERE),
    Word(r"(?i)(?<!ROC )\bcurves?\b", "hessian_vector_product; scores over steps", KERNELS),
    Word(r"(?i)\brooms?\b", "memory, memory budget, space; package (a folder)", EVERYWHERE),
    Word(r"(?i)\bwalk(s|ed|ing)?\b|class _?\w*Walk\b", "state, trajectory", KERNELS),
    Word(r"(?i)\bfronts?\b|class _?\w*Front\b", "state", ("kernels",)),
    Word(r"(?i)\bturned\b|\bturn\(", "rotated (a basis), restarted", KERNELS),
    Word(r"(?i)\bsettle", "minimize_intercept", KERNELS),
    Word(r"(?i)\btensors? lacks?\b|\black(s|ed)? tensors?\b|\btoo many tensors\b", "missing, unexpected", EVERYWHERE),
    Word(r"(?i)\bpath of (an|the) optimi[sz]er|optimi[sz]er's path", "trajectory", EVERYWHERE),
    Word(r"(?i)\bheard\b|\bunheard\b|\bhears?\b", "has an effect, is used", EVERYWHERE),
    Word(r"(?i)\bpulled (to|towards)\b", "penalised towards", EVERYWHERE),
    Word(r"(?i)\black(s|ing)?\b|\bare too many\b", "missing, unexpected", SERVICE),
    Word(r"(?i)\bg(o|oes|oing|one) on from\b|\btaken up again\b", "resumed", SERVICE),
    Word(r"(?i)\bwhere (it|that) is not plain\b|\bnot looked at for\b", "not obvious; unused for", EVERYWHERE),
    Word(r"pip install '?penult\b", "from a checkout of penult: pip install '.[...]'", EVERYWHERE),
    # Sentences that readers stumbled over
    Word(r"\bThemselves, as\b", "a sentence that names its subject", EVERYWHERE),
    Word(r'^\s*"""(Of|Those|That|And|and|With|For) ', "a docstring that names its subject", SERVICE),
    Word(r"^\s*// (Of|Those|That) ", "a comment that names its subject", SERVICE),
    Word(r"\bThe same of\b", "a sentence that names its subject", EVERYWHERE),
    Word(r"(?i)\bwho joins\b|\bwhoever joins\b", "requests that join a batch", EVERYWHERE),
    Word(r'^\s*"""(Of|Those|That|And|and|As long) ', "a docstring that names its subject", KERNELS),
    Word(
        r"(?i)\bon the host or beside\b|\bbeside (its|the|their) features\b", "on the device of the features", KERNELS
    ),
    Word(r"(?i)\bwiden(s|ed|ing)\b", "converted to float64", KERNELS),
    Word(r"(?i)\bequal questions\b", "identical requests", EVERYWHERE),
    Word(r"(?i)\backnowledged survives\b", "is on disk before the answer, so that it outlives a crash", EVERYWHERE),
    Word(r"(?i)\bleans? on the ground\b", "depends on", EVERYWHERE),
    Word(r"(?i)\bratio was size\b", "how much of the ratio comes from the sizes of the groups", EVERYWHERE),
    Word(r"(?i)\bselection's curve\b", "the accuracies after each step on the selection set", EVERYWHERE),
    Word(r"(?i)\bp, adjusted for both\b", "p-values adjusted for multiple comparisons", EVERYWHERE),
    Word(r"(?i)\bmiddle of its permutation distribution\b", "median of the permutation distribution", EVERYWHERE),
]


def sources(root: Path, path: str) -> Iterator[Path]:
    """Files of `path` that people write: neither generated nor installed."""
    start = root / path
    for file in [start] if start.is_file() else sorted(start.rglob("*")):
        if file.suffix in SUFFIXES and "_pb2" not in file.name and not {"build", ".venv"} & set(file.parts):
            yield file


def found(root: Path, words: list[Word]) -> list[str]:
    """One line for each use of a word: file:line, the word, what to write instead."""
    files = sorted({file for word in words for path in word.paths for file in sources(root, path)})
    uses: list[str] = []
    for file in files:
        name = file.relative_to(root)
        here = [word for word in words if any(name.is_relative_to(path) for path in word.paths)]
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            matches = ((re.search(word.pattern, line), word) for word in here)
            uses += [
                f"{name}:{number}: {match[0].strip()!r}; write: {word.instead}" for match, word in matches if match
            ]
    return uses


def test_the_code_uses_the_field_s_words():
    uses = found(ROOT, WORDS)
    assert not uses, "\n" + "\n".join(uses)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("x = beside(noise, rows)", "asarray_like("),
        ("centred = x - x.mean()", "center, centering"),
        ("if is_narrow(rows):", "float32, in_float32, as_float32"),
        ("p = block.share() * p", "sample_weight (its sum is 1)"),
        ('"""Themselves, as blocks over the same rows."""', "a sentence that names its subject"),
    ],
)
def test_a_line_with_another_word_is_found_with_its_place(tmp_path: Path, line: str, instead: str):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "bad.py").write_text(f"import numpy\n{line}\ncenter = besides = share = narrower = 1\n")
    (tmp_path / "kernels" / "bad_pb2.py").write_text(line)
    (use,) = found(tmp_path, WORDS)
    assert use.startswith("kernels/bad.py:2: ")
    assert use.endswith(f"; write: {instead}")


def test_a_word_is_sought_in_its_paths_alone(tmp_path: Path):
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "walk.py").write_text("# walks the folders\n")
    assert found(tmp_path, WORDS) == []
