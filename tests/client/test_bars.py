"""When progress is shown, and what the bars say."""

import sys
from types import SimpleNamespace

import pytest

from penult import errors
from penult.calls.waiting import bars, queries
from penult_proto.v1 import arrays_pb2, features_pb2, jobs_pb2


def at(done: float, stage: str = "replicates", total: float = 100) -> jobs_pb2.Progress:
    return jobs_pb2.Progress(stage=stage, done=done, total=total, unit="resamples")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_that_of_the_stage_from_where_it_was_first_seen():
    clock = Clock()
    pace = bars.Pace(clock)
    said: list[str] = []
    for now, progress in [(0, at(40)), (10, at(50)), (20, at(50)), (30, at(99, "other")), (40, at(10)), (41, at(11))]:
        clock.now = now
        said.append(pace.left(progress))
    assert said == ["", "00:50", "01:40", "", "", "01:29"]
    assert bars.clock_time(3661.2) == "1:01:01"


def test_a_late_bar_comes_after_a_second(monkeypatch: pytest.MonkeyPatch):
    clock, seen = Clock(), list[float]()
    monkeypatch.setattr(
        bars, "new_bar", lambda title: SimpleNamespace(advance=lambda now: seen.append(now.done), close=lambda: None)
    )
    late = bars.Late("spectra", clock)
    for now in (0.0, 0.9, 1.0, 1.1):
        clock.now = now
        late.advance(at(now))
    late.close()
    assert seen == [1.0, 1.1]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_terminals_show_progress_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, is_terminal: bool):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: is_terminal))
    monkeypatch.delenv(bars.VARIABLE, raising=False)
    assert bars.is_shown(None) is is_terminal
    monkeypatch.setenv(bars.VARIABLE, "0")
    assert not bars.is_shown(None)
    assert bars.is_shown(True)
    assert not bars.is_shown(False)
    with pytest.raises(errors.InvalidRequest, match="progress must be True or False; got 'yes'"):
        bars.is_shown("yes")  # pyright: ignore[reportArgumentType]


def test_a_bar_says_title_stage_amounts_and_where_nothing_is_counted_the_stage_alone(
    capsys: pytest.CaptureFixture[str],
):
    bar = bars.TerminalBar("spectra of slow")
    bar.advance(jobs_pb2.Progress(stage="waiting for its turn"))
    bar.advance(at(25.26))
    bar.close()
    said = capsys.readouterr().err
    assert "spectra of slow: waiting for its turn [00:00]" in said
    assert "spectra of slow: replicates  25%|" in said
    assert "| 25.3 of 100 resamples [00:00<?]" in said


@pytest.mark.parametrize(("n_bytes", "said"), [(2_400, (2.4, "kB")), (2_400_000, (2.4, "MB"))])
def test_bytes_are_counted_in_a_unit_in_which_they_are_some(monkeypatch: pytest.MonkeyPatch, n_bytes, said):
    shown: list[jobs_pb2.Progress] = []
    monkeypatch.setattr(queries, "Late", lambda title: SimpleNamespace(advance=shown.append, close=lambda: None))
    transfer = queries.Transfer("upload", "sending", "", progress=True)
    transfer.expect(n_bytes)
    sent = [features_pb2.UploadFeaturesRequest(chunk=arrays_pb2.ArrayChunk(data=b"x" * n_bytes))]
    assert list(transfer.counted(sent)) == sent
    assert [(one.done, one.total, one.unit) for one in shown] == [(said[0], *said)]
