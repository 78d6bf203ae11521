"""Refits of sets that do not fit in memory: of the rows that they draw, which are gathered."""

from dataclasses import replace

import numpy as np
import pytest

from penult_kernels import budget
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.queue import Asked, answer_together
from penult_server.compute.rows.resident import ResidentFeatures, bytes_of
from penult_server.errors import ServiceError
from penult_server.front.queries.refits.request import expand
from penult_server.messages import array_from_proto, array_to_proto
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import FeatureManifest, LabelNames
from penult_server.stores.reading import StoredFeatures

NUMPY = Backend(np, "numpy", "cpu")
LABELS = LabelNames(classes=("cat", "dog"), attribute="place", attribute_values=("in", "out"))
N, D = 3000, 24
COUNTS = (1400, 100, 60, 1440)
GROUPS = groups_pb2.Balance(method=groups_pb2.BALANCE_METHOD_SUBSETTING, by=groups_pb2.BALANCE_BY_GROUP)
CLASSES = groups_pb2.Balance(method=groups_pb2.BALANCE_METHOD_SUBSETTING, by=groups_pb2.BALANCE_BY_CLASS)


def listed(rows) -> pb.Rows:
    return pb.Rows(kind=pb.ROWS_KIND_EXPLICIT, row_ids=array_to_proto(np.asarray(rows, np.uint64)))


ALONE = {
    "l1": {"balance": GROUPS, "l1": 0.02},
    "l1, scaled by all rows": {"balance": GROUPS, "l1": 0.02, "scaling": pb.Scaling(kind=pb.SCALING_KIND_ALL)},
    "l2, more features than rows": {"rows": listed(range(2, 22)), "l2": 0.1},
    "a path": {
        "balance": GROUPS,
        "path": pb.Path(optimizer=pb.PATH_OPTIMIZER_SGD, learning_rate=0.05, steps=30, batch_size=16),
        "seed": 3,
    },
    "an offset": {"balance": GROUPS, "l1": 0.02, "offset": pb.Offset(kind=pb.OFFSET_KIND_CLASS_PRIOR, tau=1.0)},
}
"""One draw, over the rows of which the solvers do the same wherever they are."""
TOGETHER = {
    "group DRO": {"balance": GROUPS, "risk": pb.Risk(kind=pb.RISK_KIND_GROUP_DRO), "l2": 0.1, "tolerance": 1e-5},
    "dfr": {"preset": "dfr", "repeats": 3, "grid": [pb.GridAxis(name="l1", values=[0.01, 0.1])]},
    "dfr_l2": {"preset": "dfr_l2", "repeats": 4},
    "class_balanced": {"preset": "class_balanced", "rows": listed(range(0, N, 2))},
    "weighted": {"rows": listed(range(0, N, 2)), "weights": pb.Weights(class_ratio=3.0), "l2": 0.1},
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A root, and a set of six chunks in it."""
    root, rng = tmp_path_factory.mktemp("store"), np.random.default_rng(0)
    g = rng.permutation(np.repeat(np.arange(4), COUNTS))
    x = rng.standard_normal((N, D)).astype(np.float32) + 3
    x[:, :2] += np.stack([0.6 * (g // 2), 1.2 * (g % 2)], axis=1)
    header = FeatureHeader(n_examples=N, n_features=D, dtype="float32", labels=LABELS, n_logits=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "DEFAULT", replace(budget.DEFAULT, chunk_bytes=512 * D * 4))
        with FeatureWriter(root, header) as writer:
            writer.append(features=x, y=g // 2, a=g % 2, row_id=np.arange(N, dtype=np.uint64))
            manifest = writer.finish()
    assert StoredFeatures(root, manifest.digest).n_blocks("features") == 6
    return root, manifest


def in_memory(stored, n_rows: int = N) -> RefitMaterial:
    """With room for so many rows of the set."""
    root, manifest = stored
    return RefitMaterial(root, NUMPY, ResidentFeatures(root, NUMPY, bytes_of(manifest, n_rows)))


def refit(material: RefitMaterial, manifest: FeatureManifest, **fields) -> pb.Refit:
    request = pb.RefitRequest(feature_set=manifest.digest, **fields)
    expand(request)
    asked = Asked(request, lambda: True)
    answer_together([asked], material)
    return asked.answer.result()


def weight_of(answer: pb.Refit) -> np.ndarray:
    return array_from_proto(answer.head.weight, "weight")


@pytest.mark.parametrize("named", ALONE)
def test_a_draw_is_fitted_to_the_bits_of_a_set_in_memory(stored, named):
    fields = {"plan": True, "evaluate": {"same": stored[1].digest}} | ALONE[named]
    expected = refit(in_memory(stored), stored[1], **fields)
    found = refit(in_memory(stored, 500), stored[1], **fields)
    assert found == expected


@pytest.mark.parametrize("n_rows", [1600, 2600], ids=["apart", "together"])
@pytest.mark.parametrize("named", TOGETHER)
def test_draws_are_fitted_to_the_tolerance_of_a_set_in_memory(stored, named, n_rows):
    fields = {"tolerance": 1e-9, "plan": True} | TOGETHER[named]
    expected = refit(in_memory(stored), stored[1], **fields)
    found = refit(in_memory(stored, n_rows), stored[1], **fields)
    assert found.plan == expected.plan
    assert found.chosen == expected.chosen
    assert found.certificate.converged
    np.testing.assert_allclose(weight_of(found), weight_of(expected), atol=1e-4 * np.abs(weight_of(expected)).max())


def test_what_is_gathered_is_read_once_and_counts_as_memory(stored, monkeypatch):
    residents = ResidentFeatures(stored[0], NUMPY, bytes_of(stored[1], 500))
    material, read = RefitMaterial(stored[0], NUMPY, residents), []
    block = StoredFeatures.block

    def counted(self, name, *more):
        read.append(name)
        return block(self, name, *more)

    monkeypatch.setattr(StoredFeatures, "block", counted)
    material.gathered(stored[1].digest, np.asarray([3, 600, 2999]))
    assert read.count("features") == 3
    for seed in (0, 0, 1, 0):
        refit(material, stored[1], balance=GROUPS, l1=0.02, seed=seed)
    # Gathered twice, six chunks each, as both draws fit; and the first 1,024 rows for the notes of every answer.
    assert read.count("features") == 3 + 2 * 6 + 4 * 2
    assert residents.nbytes <= bytes_of(stored[1], 500)
    residents.drop(stored[1].digest)
    assert residents.nbytes == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"preset": "erm"}, "feature set .* needs 0 MiB"),
        ({"rows": listed(range(400, 2000)), "l2": 0.1}, "1,600 of the 3,000 rows .* need 0 MiB .* fewer rows together"),
        ({"preset": "erm", "grid": [pb.GridAxis(name="l2", values=[0.1])], "select": pb.Select(half=True)}, "1,500 of"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(stored, fields, said):
    with pytest.raises(ServiceError, match=said) as caught:
        refit(in_memory(stored, 500), stored[1], **fields)
    assert caught.value.kind == ErrorKind.OUT_OF_MEMORY
