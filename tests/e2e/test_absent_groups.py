"""A dataset without examples of some class in some place: left out of balancing, named, and never made up."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import penult

TINY = {
    "backbone": "test_resnet",
    "pretrained": False,
    "inputs": penult.Images(size=32),
    "epochs": 1,
    "batch_size": 8,
}
EMPTY = "'wolf, city'"


def table(directory: Path, name: str, missing_in: set[str]) -> str:
    """Images of three classes in two places; wolves in cities are missing in some splits."""
    rng = np.random.default_rng(0)
    directory = directory / name
    directory.mkdir()
    lines = ["split,y,path,place"]
    for split, copies in (("train", 4), ("val", 2), ("test", 2)):
        for animal in ("cat", "dog", "wolf"):
            for place in ("city", "forest"):
                if (animal, place) == ("wolf", "city") and split in missing_in:
                    continue
                for copy in range(copies):
                    file = f"{split}-{animal}-{place}-{copy}.png"
                    Image.fromarray(rng.integers(0, 256, (34, 34, 3)).astype(np.uint8)).save(directory / file)
                    lines.append(f"{split},{animal},{file},{place}")
    path = directory / f"{name}.csv"
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def datasets(client: penult.Client, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("animals")
    client.datasets.register("nowhere", table(directory, "nowhere", {"train", "val", "test"}))
    client.datasets.register("elsewhere", table(directory, "elsewhere", {"train"}))


@pytest.mark.usefixtures("datasets")
def test_a_group_that_no_split_has_is_left_out_and_named(client: penult.Client) -> None:
    run = client.finetune(dataset="nowhere", balance="upsampling", by="group", **TINY).wait()
    assert [note.id for note in run.notes] == ["absent_groups"]
    assert EMPTY in run.notes[0]
    assert EMPTY in repr(run)
    assert client.runs.get(run.id).notes == run.notes
    sets = client.extract(run.checkpoints[-1]).wait()
    refit = client.refit(
        sets["val"], balance="subsetting", by="group", l2=0.1, evaluate={"test": sets["test"]}, plan=True
    )
    assert next(note.id for note in refit.notes) == "absent_groups"
    assert EMPTY in refit.notes[0]
    features = client.features.read(sets["val"])
    assert refit.plan is not None
    chosen = np.isin(features.row_id, refit.plan.row_ids)
    np.testing.assert_array_equal(np.bincount(features.g[chosen], minlength=6), [2, 2, 2, 2, 0, 2])
    assert "absent_groups" in set(refit.to_frame()["notes"].iloc[0].split(", "))


@pytest.mark.usefixtures("datasets")
def test_a_group_that_another_split_has_is_refused_unless_asked_for(client: penult.Client) -> None:
    with pytest.raises(penult.InvalidRequest, match=r"empty_group") as caught:
        client.finetune(dataset="elsewhere", balance="upsampling", by="group", **TINY).wait()
    assert "missing_groups='skip'" in caught.value.message
    run = client.finetune(dataset="elsewhere", balance="upsampling", by="group", missing_groups="skip", **TINY).wait()
    assert EMPTY in run.notes[0]
    assert run.spec.missing_groups == "skip"
    train = client.extract(run.checkpoints[-1], splits=["train"]).wait()["train"]
    asked = {"balance": "upweighting", "by": "group", "l2": 0.1}
    with pytest.raises(penult.InvalidRequest, match=r"missing_groups='skip'"):
        client.refit(train, **asked)
    assert EMPTY in client.refit(train, missing_groups="skip", **asked).notes[0]
