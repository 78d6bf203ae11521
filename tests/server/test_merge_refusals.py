"""Networks that do not fit each other: each reason has a sentence of its own, from what is stored about them alone."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_merging import plan, refused, toy

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.queries.merges.compatible import Facts, check_bodies, check_heads, facts_of


def manifest(**others: Any) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, manifest=replace(facts.manifest, **others))


def tensors(**others: Any) -> Callable[[Facts], Facts]:
    """Without a tensor, or with another dtype or shape of it."""

    def changed(facts: Facts) -> Facts:
        found = dict(facts.header.tensors)
        for name, change in others.items():
            tensor = found.pop(name.replace("__", "."))
            if change:
                found[tensor.name] = replace(tensor, **change)
        return replace(facts, header=replace(facts.header, tensors=found))

    return changed


BODIES: dict[str, tuple[Callable[[Facts], Facts], str, str]] = {
    "texts and images": (manifest(max_tokens=8), "reads images, .* reads texts", ""),
    "another backbone": (manifest(backbone="other"), "merge networks of one architecture", ""),
    "another library": (manifest(library="transformers"), "a 'toy' of timm, .* a 'toy' of transformers", ""),
    "another pooling": (manifest(pooling="mean"), "merge networks that pool alike", ""),
    "another preprocessing": (manifest(preprocessing_id="q"), "import one of them again with the other's", ""),
    "another dataset": (manifest(dataset_digest="e" * 64), "merged with allow_datasets=True", ""),
    "another attribute": (manifest(attribute="b"), "by 'a', .* by 'b'", ""),
    "no dataset": (manifest(dataset="", dataset_digest=""), "about no dataset that is known", ""),
    "a tensor missing": (tensors(mask=None), "has no tensor mask", "mask"),
    "another shape": (
        tensors(blocks__0__weight={"shape": (7, 50)}),
        r"is F32 \[50, 7\] in .* F32 \[7, 50\]",
        "blocks.0.weight",
    ),
    "another type": (tensors(scale={"dtype": "F16"}), r"is F32 \[\] in .* F16 \[\]", "scale"),
    "tied in one": (manifest(tied=(("head.bias", "scale"),)), "head.bias and scale are one tensor", "head.bias, scale"),
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, Facts]:
    root = tmp_path_factory.mktemp("store")
    first, second = (facts_of(root, toy(root, seed).digest) for seed in (1, 2))
    check_bodies(first, second, allow_datasets=False)
    check_heads(first, second)
    return first, second


def refusal(first: Facts, second: Facts, check: Callable[[Facts, Facts], None]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        check(first, second)
    assert caught.value.kind is ErrorKind.INCOMPATIBLE_CHECKPOINTS
    assert first.short in caught.value.message or second.short in caught.value.message
    return caught.value


def bodies(first: Facts, second: Facts) -> None:
    check_bodies(first, second, allow_datasets=False)


@pytest.mark.parametrize("case", BODIES)
def test_bodies_that_do_not_fit(facts, case: str) -> None:
    change, words, named = BODIES[case]
    error = refusal(facts[0], change(facts[1]), bodies)
    assert re.search(words, error.message), error.message
    assert error.metadata["tensors"] == named


def test_every_reason_has_a_sentence_of_its_own(facts) -> None:
    said = {refusal(facts[0], change(facts[1]), bodies).message for change, *_ in BODIES.values()}
    assert len(said) == len(BODIES)


def test_heads_are_refused_by_the_names_of_classes_and_not_by_their_order(facts) -> None:
    first, second = facts
    check_heads(first, manifest(classes=("y", "x"))(second))
    for classes in (("x", "z"), ("x",), ()):
        error = refusal(first, manifest(classes=classes)(second), check_heads)
        assert "heads are merged row by row, of equal names" in error.message
    other = tensors(head__weight={"shape": (3, 3)}, head__bias={"shape": (3,)})(manifest(n_classes=3)(second))
    check_bodies(first, other, allow_datasets=False)


@pytest.mark.parametrize("method", ["uniform", "wise"])
def test_a_network_that_is_not_finite_is_named(tmp_path: Path, method: str) -> None:
    root = tmp_path / "store"
    good, bad = toy(root, 1), toy(root, 2, scale=np.nan)
    asked = plan(root, [good.digest, bad.digest])
    if method == "wise":
        asked = plan(root, [good.digest], method="wise", base=bad.digest, numbers={"t": 0.5})
    error = refused(root, asked, tmp_path)
    assert error.kind is ErrorKind.INCOMPATIBLE_CHECKPOINTS
    assert f"checkpoint {bad.digest[:12]} holds values of 'scale' that are not finite" in error.message
