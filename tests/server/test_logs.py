"""Log lines in two formats, with what they are about, without secrets; log files that stay bounded."""

import contextlib
import io
import json
import logging
import os
import secrets
import threading
import time

import pytest

from penult_server.logs import batched, bounded
from penult_server.logs.batched import BatchedLines
from penult_server.logs.reading import read_piece
from penult_server.logs.secrets import conceal, without_secrets
from penult_server.logs.setup import FORMAT_VARIABLE, JsonLines, Subject, TextLines, default_format, write_worker_lines

TOKEN = "pen_" + secrets.token_urlsafe(32)


@pytest.fixture
def written():
    """Loggers of each format, and what they have written."""
    made = []

    def start(formatter: logging.Formatter, **fields: str) -> tuple[logging.Logger, io.StringIO]:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        handler.addFilter(Subject(lambda: fields))
        log = logging.Logger("penult.test", logging.INFO)
        log.addHandler(handler)
        made.append(log)
        return log, stream

    return start


def test_a_json_line_says_what_it_is_about(written):
    log, stream = written(JsonLines(), request_id="r1", user="ada", job="")
    log.warning("%s ended\nwith two lines", "it", extra={"milliseconds": 3.5})
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "penult.test",
        "message": "it ended\nwith two lines",
        "request_id": "r1",
        "user": "ada",
        "milliseconds": 3.5,
    }


def test_a_line_s_own_subject_comes_first(written):
    log, stream = written(JsonLines(), job="j1", user="ada")
    log.info("x", extra={"job": "j2", "user": ""})
    line = json.loads(stream.getvalue())
    assert (line["job"], line["user"]) == ("j2", "")


def test_a_text_line_ends_with_its_subjects(written):
    log, stream = written(TextLines(), user="ada", request_id="r1")
    log.info("it is done")
    assert stream.getvalue().endswith("INFO penult.test: it is done (request_id=r1 user=ada)\n")


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
def test_no_field_of_a_line_shows_a_secret(written, formatter):
    own = secrets.token_urlsafe(32)
    conceal(own)
    log, stream = written(formatter, user=TOKEN)
    try:
        raise ValueError(f"refused: {TOKEN}, {own}")
    except ValueError:
        log.exception("Bearer %s and %s", TOKEN, own, extra={"authorization": f"Bearer {own}", "list": [TOKEN]})
    said = stream.getvalue()
    assert TOKEN not in said
    assert own not in said
    assert "Bearer [secret]" in said
    if isinstance(formatter, JsonLines):
        json.loads(said)


def test_lines_are_written_in_order_by_a_thread_and_the_last_at_the_end():
    stream = io.StringIO()
    handler = BatchedLines(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.Logger("penult.test", logging.INFO)
    log.addHandler(handler)
    for number in range(200):
        log.info("%d", number)
    log.info("%d", "no number")  # is told on standard error, and the others are written
    log.info("last")
    handler.close()
    assert stream.getvalue() == "".join(f"{number}\n" for number in range(200)) + "last\n"


def test_who_logs_does_not_wait_for_a_reader_who_has_stopped(monkeypatch):
    monkeypatch.setattr(batched, "MOST_WAITING", 100)
    monkeypatch.setattr(batched, "LEAVING_SECONDS", 0.05)
    reading, writing = os.pipe()
    handler = BatchedLines(os.fdopen(writing, "w"))
    log = logging.Logger("penult.test", logging.INFO)
    log.addHandler(handler)
    for _ in range(500):
        log.info("x" * 2000)  # a pipe takes 64 KiB
    assert handler._thread.is_alive()
    handler.close()
    os.close(reading)  # lets the thread end
    handler._thread.join(100)
    with contextlib.suppress(OSError):
        handler._stream.close()


def test_what_is_no_secret_stays():
    text = "pen_short, a pen_name, bearer of news: Bearer"
    assert without_secrets(text) == text
    conceal("")
    assert without_secrets("abc") == "abc"
    assert without_secrets('{"a": "Bearer abc.def", "b": 1}') == '{"a": "Bearer [secret]", "b": 1}'


def test_programs_get_json_and_people_text(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert default_format(for_people=False) == "json"
    assert default_format(for_people=True) == "text"


def test_a_worker_s_lines_have_the_front_s_format_and_their_job(monkeypatch, capsys):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    root.handlers = []
    try:
        write_worker_lines(lambda: {"job": "j7"})
        logging.getLogger("penult").error("it broke")
    finally:
        root.handlers, root.level = before, level
    line = json.loads(capsys.readouterr().err)
    assert (line["job"], line["message"], line["level"]) == ("j7", "it broke", "ERROR")


def test_of_a_log_that_grew_too_large_the_middle_goes(tmp_path):
    path = tmp_path / "job.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, b"first\n" + b"x" * 5000 + b"\nlast\n")
        assert bounded.can_be_cut(descriptor)
        assert not bounded.cut_middle(descriptor, most=6000, kept=100)
        assert bounded.cut_middle(descriptor, most=5000, kept=100)
        os.write(descriptor, b"more\n")
    finally:
        os.close(descriptor)
    said = path.read_bytes()
    assert said.startswith(b"first\nxxx")
    assert said.endswith(b"xxx\nlast\nmore\n")
    assert bounded.CUT in said
    assert len(said) == 200 + len(bounded.CUT) + 5


def test_only_files_that_are_appended_to_are_cut(tmp_path):
    plain = os.open(tmp_path / "plain", os.O_WRONLY | os.O_CREAT)
    reading, writing = os.pipe()
    assert [bounded.can_be_cut(one) for one in (plain, writing)] == [False, False]
    for one in (plain, reading, writing):
        os.close(one)
    assert not bounded.can_be_cut(plain)


def test_a_log_stays_bounded_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "MOST_BYTES", 20_000)
    monkeypatch.setattr(bounded, "cut_middle", lambda descriptor: CUT_NOW(descriptor, 20_000, 4_000))
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    others = set(threading.enumerate())
    enough = bounded.keep_bounded(descriptor, every=0.001)
    end = time.monotonic() + 100
    for number in range(4000):
        os.write(descriptor, b"%06d %s\n" % (number, b"y" * 92))
        while path.stat().st_size > 40_000:  # until it is cut
            assert time.monotonic() < end
            enough.wait(0.001)
    enough.set()
    while any(
        one.name == "log" for one in set(threading.enumerate()) - others
    ):  # a line that is written within a cut may be lost
        assert time.monotonic() < end
        os.sched_yield()
    os.write(descriptor, b"the last\n")
    os.close(descriptor)
    said = path.read_bytes()
    assert len(said) <= 40_000  # of 400,000
    assert said.startswith(b"000000 ")
    assert said.endswith(b"\nthe last\n")


CUT_NOW = bounded.cut_middle


def test_a_log_is_read_in_pieces(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    assert (read_piece(path, 0, 4).content, read_piece(path, 4, 100).content) == (b"0123", b"456789")
    assert (read_piece(path, -3, 100).offset, read_piece(path, -3, 100).content) == (7, b"789")
    assert read_piece(path, -30, 2).content == b"01"
    assert read_piece(path, 10, 5).content == read_piece(path, 2**62, 5).content == b""
    assert read_piece(tmp_path / "none", 0, 5).size == 0
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(path)
    assert [read_piece(tmp_path / name, 0, 5).content for name in ("pipe", "link", "")] == [b"", b"", b""]
