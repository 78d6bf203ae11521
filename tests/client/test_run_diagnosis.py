"""Diagnostics over epochs: curves by part, matrices of pairs, and the order in which labels are learned."""

import math

import numpy as np
import pytest

from penult.errors import InvalidRequest
from penult.results.diagnosis.definitions import DiagnosticDefinition
from penult.results.diagnosis.diagnosis import Diagnosis, DiagnosticValue
from penult.results.diagnosis.epochs import RunDiagnosis

DEFINITION = dict.fromkeys(DiagnosticDefinition.__dataclass_fields__, "x") | {
    "needs": (),
    "numbers": (),
    "matched": True,
}
CURVES = {"class": [0.0, 0.2, 0.9, 1.0], "ground": [0.1, 0.95, 1.0, 1.0], "noise": [0.0, -0.1, 0.0, -0.2]}


def value(id, part, number, **others):
    rest = dict.fromkeys(("low", "high", "matched_value", "matched_low", "matched_high", "null"), math.nan)
    return DiagnosticValue(
        **({"id": id, "part": part, "indices": (), "column": "", "value": number, "n": 5, "note": ""} | rest | others)
    )


@pytest.fixture(scope="module")
def found():
    epochs = np.array([0.0, 1.0, 2.0, 4.0])
    diagnoses = tuple(
        Diagnosis(
            digest="d", feature_set="f", other="", by="group", groups=(None, None),
            definitions={id: DiagnosticDefinition(**DEFINITION) for id in ("decodability_bits", "gradient_conflict")},
            values=(
                *(value("decodability_bits", name, one[e], column=name) for name, one in CURVES.items()),
                value("gradient_conflict", "a / b", -0.1 * e, indices=(0, 1)),
            ),
            numbers={}, replicates=0, matched_draws=0, matched_n=0, seed=0, n_rows=5, reused=False,
        )
        for e in range(4)
    )  # fmt: skip
    return RunDiagnosis(run="r", split="val", epochs=epochs, checkpoints=("a", "b", "c", "d"), diagnoses=diagnoses)


def test_what_is_learned_first(found):
    order = found.learning_order()
    assert list(order) == ["ground", "class", "noise"]
    assert order["ground"] == pytest.approx((0.9 - 0.1) / 0.85)  # between epochs 0 and 1
    assert order["class"] == 2.0
    assert math.isnan(order["noise"])
    assert found.learning_order(share=1.0)["class"] == 4.0


def test_curves_and_matrices(found):
    np.testing.assert_array_equal(found.curve("decodability_bits", "class")[:, 0], CURVES["class"])
    conflict = found.matrix("gradient_conflict")
    assert conflict.shape == (4, 2, 2)
    np.testing.assert_allclose(conflict[:, 0, 1], [0, -0.1, -0.2, -0.3])
    table = found.to_frame()
    assert table[table["part"] == "ground"]["value"].tolist() == CURVES["ground"]
    assert len(found.plot().axes) == 2
    assert "epoch 4" in str(found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"share": 0.0}, "above 0"), ({"share": 1.5}, "at most 1"), ({"id": "gradient_conflict"}, "no values of columns")],
)
def test_what_is_refused(found, arguments, said):
    with pytest.raises(InvalidRequest, match=said):
        found.learning_order(**arguments)
