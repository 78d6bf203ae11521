"""The committed code is what the generator makes of the committed .proto files."""

import filecmp
from pathlib import Path

import penult_proto
from penult_proto.generate.client import CLIENT, generate_client
from penult_proto.generate.finetuning import generate_finetuning
from penult_proto.generate.wire import generate

ROOM = Path(penult_proto.__file__).parent.parent


def test_committed_code_is_current(tmp_path):
    generate(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2*.py*"))
    committed = sorted(path.relative_to(ROOM) for path in ROOM.glob("penult_proto/v1/*_pb2*.py*"))
    assert made == committed
    _, differing, errors = filecmp.cmpfiles(tmp_path, ROOM, [str(path) for path in made], shallow=False)
    assert not differing, f"run `make protos` and commit: {differing}"
    assert not errors


def test_enums_begin_with_unspecified_and_messages_come_sorted_before_services():
    from penult_proto.v1 import (
        datasets_pb2,
        features_pb2,
        groups_pb2,
        info_pb2,
        jobs_pb2,
        refits_pb2,
        runs_pb2,
        spectra_pb2,
    )

    modules = (datasets_pb2, features_pb2, groups_pb2, info_pb2, jobs_pb2, refits_pb2, runs_pb2, spectra_pb2)
    for module in modules:
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            assert enum.values[0].number == 0
            assert enum.values[0].name.endswith("_UNSPECIFIED")
        for service in module.DESCRIPTOR.services_by_name.values():
            names = [method.name for method in service.methods]
            assert names == sorted(names), f"{service.name}: methods are kept sorted"


def test_every_kind_of_error_has_exactly_one_status_code():
    from penult_proto.errors import STATUS_CODES, ErrorKind

    assert set(STATUS_CODES) == set(ErrorKind)
    assert len({kind.value for kind in ErrorKind}) == len(ErrorKind)


def test_the_client_s_generated_code_is_current(tmp_path):
    generate_client(tmp_path)
    generate_finetuning(tmp_path)
    for made in tmp_path.rglob("*.py"):
        current = CLIENT / made.relative_to(tmp_path)
        assert made.read_text() == current.read_text(), f"run `make protos` and commit: {current}"
