"""What is looked at: maps of rows against NumPy, examples against what was registered, and the files they make."""

import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import penult
from penult.results.pictures.gallery import Entry, page


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 90)
    a = rng.integers(0, 2, 90)
    features = (rng.standard_normal((90, 12)) * np.linspace(3, 0.2, 12) + 40).astype(np.float32)
    logits = rng.standard_normal((90, 2)).astype(np.float32)
    return {"features": features, "y": y, "a": a, "logits": logits, "row_id": np.arange(90, dtype=np.uint64) * 5 + 1}


@pytest.fixture(scope="module")
def mine(client, arrays):
    return client.features.upload(**arrays, attribute="place", attribute_values=["in", "out"])


def _principal(rows, k=2):
    """Coordinates along the top right singular vectors of the centred rows, up to sign; and their shares."""
    centred = rows.astype(float) - rows.astype(float).mean(axis=0)
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    return centred @ vectors[:k].T, values[:k] ** 2 / (values**2).sum()


@pytest.mark.parametrize("some", [None, [1, 6, 11, 16, 21, 26], range(1, 251, 5)])
def test_a_map_is_the_principal_components_of_the_rows(client, arrays, mine, some):
    """From stored moments; and of chosen rows, fewer and more than features."""
    chosen = np.ones(90, bool) if some is None else np.isin(arrays["row_id"], list(some))
    found = client.map(mine, rows=None if some is None else list(some))
    expected, shares = _principal(arrays["features"][chosen])
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(expected), atol=2e-5)
    np.testing.assert_allclose(found.shares, shares, rtol=1e-9)
    np.testing.assert_array_equal(found.row_id, arrays["row_id"][chosen])
    np.testing.assert_array_equal(found.right, (arrays["logits"].argmax(1) == arrays["y"])[chosen])


def test_a_map_moves_with_nothing_but_the_differences_of_rows(client, arrays, mine):
    moved = client.features.upload(**arrays | {"features": arrays["features"] + 1000})
    np.testing.assert_allclose(client.map(moved).coordinates, client.map(mine).coordinates, atol=5e-3)


def test_points_are_coloured_by_what_is_asked_for(client, arrays, mine, tmp_path):
    found = client.map(mine)
    label, names = found.labels("group")
    np.testing.assert_array_equal(label, arrays["y"] * 2 + arrays["a"])
    assert names == ("0, in", "0, out", "1, in", "1, out")
    np.testing.assert_array_equal(found.labels("error")[0], 1 - found.right)
    column = np.where(arrays["y"] == 1, "b", "a")
    assert found.labels(column)[1] == ("a", "b")
    for colour in ("group", "class", "attribute", "error", column):
        figure = found.plot(colour, most=50)
        shown = sum(len(points.get_offsets()) for points in figure.axes[0].collections)
        assert shown == 50, "a sample of the rows, each once"
    found.save(tmp_path / "map.npz")
    np.testing.assert_array_equal(penult.load(tmp_path / "map.npz").coordinates, found.coordinates)
    assert list(found.to_frame().columns) == ["row_id", "first", "second", "class", "attribute", "right"]
    bare = client.map(client.features.upload(arrays["features"], arrays["y"]))
    for colour, what in (
        ("attribute", "no attribute"),
        ("error", "no logits"),
        ("shape", "one of"),
        ([1, 2], "one value"),
    ):
        with pytest.raises(penult.InvalidRequest, match=what):
            bare.labels(colour)


def test_what_cannot_be_a_map(client, mine):
    with pytest.raises(penult.InvalidRequest, match="method="):
        client.map(mine, method="tsne")
    with pytest.raises(penult.NotFound, match="feature set"):
        client.map("nobody's")
    assert client.map(client.features.upload(np.zeros((5, 1), np.float32), [0, 1, 0, 1, 0])).coordinates.shape == (5, 2)


def test_examples_are_those_of_the_rows(client):
    found = client.examples("footwear", "val", [2300, 2000], side=48)
    assert [one.row_id for one in found] == [2300, 2000]
    for one in found:
        image = Image.open(BytesIO(one.image))
        assert (image.format, image.size) == ("PNG", (48, 48))
    assert found[0].label == "sneaker, gravel"
    page_of = page("neighbours", [[Entry(found[0], "0.1"), Entry(found[1], "0.2", True)]])
    assert len(re.findall("data:image/png;base64", page_of._repr_html_())) == 2


def test_a_page_of_examples_needs_no_other_file(client, tmp_path):
    found = client.examples("footwear", "train", [0, 1])
    page("<two>", [[Entry(one, "") for one in found]]).save(tmp_path / "page.html")
    written = (tmp_path / "page.html").read_text()
    assert "&lt;two&gt;" in written
    assert 'src="http' not in written


@pytest.fixture(scope="module")
def extracted(client, table, tiny):
    client.datasets.register("shapes", table)
    run = client.finetune(dataset="shapes", backbone=tiny["backbone"], pretrained=False, epochs=0).wait()
    return client.extract(run.checkpoints[-1]).wait()


def test_a_gallery_shows_rows_beside_their_neighbours(client, extracted, tmp_path):
    near = client.neighbours(extracted["test"], among=extracted["val"], k=3)
    gallery = client.gallery(near, most=4, side=16)
    assert len(gallery.rows) == 4
    for row in gallery.rows:
        place = near.query_id.tolist().index(row[0].example.row_id)
        assert [entry.example.row_id for entry in row[1:]] == near.row_id[place].tolist()
        for entry, far in zip(row[1:], near.distance[place], strict=True):
            assert entry.caption == f"{far:.3g}"
            assert entry.is_other == (entry.example.class_name != row[0].example.class_name)
    chosen = [int(near.query_id[5]), int(near.query_id[2])]
    assert [row[0].example.row_id for row in client.gallery(near, rows=chosen).rows] == chosen
    gallery.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("data:image/png") == 16


def test_galleries_that_cannot_be(client, extracted, mine):
    with pytest.raises(penult.InvalidRequest, match="was uploaded"):
        client.gallery(client.neighbours(mine, k=2))
    with pytest.raises(penult.InvalidRequest, match="row 99999 is not among the 40 rows"):
        client.gallery(client.neighbours(extracted["test"], k=2), rows=[99999])


def test_a_map_by_a_grouping_has_its_groups(client, arrays, mine):
    some = {int(row): int(row) % 3 for row in arrays["row_id"][:60]}
    grouping = client.groupings.upload(mine, some)
    found = client.map(mine, by=grouping)
    np.testing.assert_array_equal(found.row_id, arrays["row_id"][:60])
    np.testing.assert_array_equal(found.a, arrays["row_id"][:60] % 3)
    expected, _ = _principal(arrays["features"][:60])
    np.testing.assert_allclose(np.abs(found.coordinates), np.abs(expected), atol=2e-5)
    with pytest.raises(penult.InvalidRequest, match="by='class'"):
        client.map(mine, by="class")


def test_umap_says_what_to_install(client, mine):
    with pytest.raises(ImportError, match="pip install umap-learn"):
        client.map(mine, method="umap")


def test_examples_that_cannot_be_shown(client):
    for asked, match in (
        ({"row_ids": [0]}, "no row with id 0"),
        ({"row_ids": [2000], "side": 5}, r"side must lie in 16 \.\. 512"),
        ({"row_ids": list(range(2000, 2200)), "side": 512}, "at most 125"),
        ({"split": "night", "row_ids": [1]}, "split"),
        ({"dataset": "nobody's", "row_ids": [1]}, "dataset"),
    ):
        with pytest.raises((penult.InvalidRequest, penult.NotFound), match=match):
            client.examples(**{"dataset": "footwear", "split": "val"} | asked)
