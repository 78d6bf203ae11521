"""No number and no name of a released message changes: clients of other languages and older versions rely on both."""

import re
from pathlib import Path

from wire_snapshot import RELEASED, wire

import penult_proto
from penult_proto import PROTOCOL


def test_what_was_released_is_still_there():
    released, now = RELEASED.read_text(encoding="utf-8").splitlines(), set(wire())
    gone = [line for line in released if line not in now]
    assert not gone, f"protocol {PROTOCOL}: fields, values or methods were renamed, renumbered or retyped: {gone}"


def test_the_snapshot_sees_every_sort_of_change():
    lines = wire()
    for pattern in (
        r"penult\.v1\.Run 1: TYPE_STRING id",
        r"penult\.v1\.Run 5: repeated penult\.v1\.Checkpoint checkpoints",
        r"penult\.v1\.JobSpec 1: penult\.v1\.FinetuneSpec finetune of kind",
        r"penult\.v1\.JobState 3: JOB_STATE_SUCCEEDED",
        r"penult\.v1\.FeatureService\.UploadFeatures: stream [\w.]+\.UploadFeaturesRequest -> penult\.v1\.FeatureSet",
        r"penult\.v1\.ExtractSpec\.ClassMapEntry 1: TYPE_STRING key",
    ):
        assert [line for line in lines if re.fullmatch(pattern, line)], pattern
    assert not [line for line in lines if "ToWorker" in line]


def test_the_manual_calls_by_this_protocol():
    manual = (Path(penult_proto.__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"penult-protocol: (\d+)", manual) == [str(PROTOCOL)]
