"""Every field of a refit with every way of solving: an identity between two requests, or a refusal (`refit_matrix`).

The checks stand in the files `test_refit_matrix_*.py`.
"""

import re
import sys
from pathlib import Path
from typing import get_args

import pytest
from refit_matrix import FIELDS, WAYS, paths_of

from penult.types import Preset


def test_every_field_has_a_row_and_every_row_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    paths = list(paths_of())
    assert sorted(FIELDS) == sorted(paths), "give a new field of the request its row in FIELDS"
    files = Path(__file__).parent.glob("test_refit_matrix_*.py")
    written = {name for file in files for name in re.findall(r"^def test_(\w+)", file.read_text("utf-8"), re.MULTILINE)}
    checks = {name for one in FIELDS.values() for name in one.checks}
    assert checks <= written
    assert all(one.checks for one in FIELDS.values())
    with capsys.disabled():
        sys.stdout.write(
            f"\nmatrix: {len(paths)} fields, {len(WAYS)} ways, {len(get_args(Preset))} presets, {len(checks)} checks "
        )
