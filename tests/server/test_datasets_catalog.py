"""What the catalog says of datasets that it cannot open."""

from pathlib import Path

import pytest

from penult_proto.errors import ErrorKind
from penult_server.datasets.catalog import DATASETS_DIRECTORY, open_dataset
from penult_server.errors import ServiceError


@pytest.mark.parametrize("digest", ["", "0" * 64, "../datasets", "."])
def test_an_unknown_digest_names_the_packaged_datasets(tmp_path: Path, digest: str):
    (tmp_path / DATASETS_DIRECTORY).mkdir()
    with pytest.raises(ServiceError, match="packaged one: footwear") as raised:
        open_dataset("mine", digest, tmp_path)
    assert raised.value.kind is ErrorKind.UNKNOWN_DATASET


def test_another_version_of_a_packaged_dataset_is_told(tmp_path: Path):
    with pytest.raises(ServiceError, match="this version of penult packages") as raised:
        open_dataset("footwear", "0" * 64, tmp_path)
    assert raised.value.kind is ErrorKind.DATASET_CHANGED
