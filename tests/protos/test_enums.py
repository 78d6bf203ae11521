"""Names of enumerations are the values' own, whatever the enumeration is called."""

import pytest

from penult_proto.enums import GIVEN_AS_VALUES, choices_of, name_of, names_of
from penult_proto.v1 import arrays_pb2, groups_pb2, refits_pb2


def test_names_are_in_the_order_of_the_file_and_leave_unspecified_out():
    assert list(names_of(groups_pb2.BalanceMethod)) == ["none", "subsetting", "upsampling", "upweighting", "mixture"]
    assert names_of(groups_pb2.BalanceMethod)["mixture"] == groups_pb2.BALANCE_METHOD_MIXTURE
    assert names_of(arrays_pb2.DType)["float16"] == arrays_pb2.DTYPE_FLOAT16


def test_a_descriptor_is_as_good_as_the_enumeration():
    assert names_of(refits_pb2.Link.DESCRIPTOR) == names_of(refits_pb2.Link)


@pytest.mark.parametrize("number", [0, 99, -1])
def test_what_says_nothing_or_is_unknown_has_no_name(number):
    assert name_of(refits_pb2.Link, number) is None


def test_every_enumeration_of_the_wire_has_names():
    from penult_proto.v1 import datasets_pb2, features_pb2, info_pb2, jobs_pb2, runs_pb2, spectra_pb2

    modules = (arrays_pb2, datasets_pb2, features_pb2, groups_pb2, info_pb2, jobs_pb2, refits_pb2, runs_pb2)
    enums = [enum for module in (*modules, spectra_pb2) for enum in module.DESCRIPTOR.enum_types_by_name.values()]
    assert len(enums) > 20
    for enum in enums:
        for name, number in names_of(enum).items():
            assert name_of(enum, number) == name


def test_what_is_given_as_a_value_is_no_choice():
    assert list(choices_of(refits_pb2.HeadKind)) == ["zero", "stored", "random"]
    assert choices_of(refits_pb2.SelectFinal) == names_of(refits_pb2.SelectFinal)
    kinds = (refits_pb2.HeadKind, refits_pb2.RowsKind, refits_pb2.ScalingKind, refits_pb2.WeightsKind)
    left_out = [set(names_of(kind)) - set(choices_of(kind)) for kind in kinds]
    assert left_out == [{"refit", "explicit"}, {"explicit"}, {"set"}, {"explicit"}]
    assert sum(map(len, left_out)) == len(GIVEN_AS_VALUES)
