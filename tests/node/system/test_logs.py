"""One line per event, for machines or for people, and no secret in either."""

import json
import logging
import os
from datetime import datetime
from io import StringIO
from threading import Thread

import pytest

from ledger.signatures import SigningKey
from node.system.logs import (
    BackgroundHandler,
    JsonFormatter,
    LimitedLog,
    RepeatedLog,
    TextFormatter,
    get_logger,
    log_event,
    setup_logging,
)
from tests.support.patience import PATIENCE_S

KEY = SigningKey(b"\x05" * 32)


def record(event, *, chain="jy1", **fields):
    seen = []
    handler = logging.Handler()
    handler.emit = seen.append
    log = get_logger(chain)
    log.addHandler(handler)
    try:
        log_event(log, logging.WARNING, event, **fields)
    finally:
        log.removeHandler(handler)
    return seen[0]


def test_a_line_for_machines():
    line = JsonFormatter().format(record("peer-lost", peer="n1", key=b"\x01\x02", points=5, reason=None))
    assert "\n" not in line
    document = json.loads(line)
    assert datetime.fromisoformat(document.pop("ts")).utcoffset().total_seconds() == 0
    assert document == {
        "level": "warning",
        "chain": "jy1",
        "event": "peer-lost",
        "peer": "n1",
        "key": "0102",
        "points": 5,
        "reason": None,
    }


def test_a_line_for_people():
    line = TextFormatter().format(record("peer-lost", peer="n1", points=5))
    assert line.endswith("WARNING jy1 peer-lost peer=n1 points=5")


def test_what_a_peer_said_cannot_forge_a_line():
    assert "\n" not in JsonFormatter().format(record("batch-refused", detail="x\n{}"))
    assert "\n" not in TextFormatter().format(record("batch-refused", detail="x\n2026 INFO all is well"))


def test_a_signing_key_is_not_shown():
    line = JsonFormatter().format(record("node-started", key=KEY))
    assert KEY.seed.hex() not in line


def test_what_others_can_cause_is_logged_so_often_and_the_rest_is_counted(caplog):
    log = LimitedLog(get_logger("jy1"), burst=2, per_s=1)
    for _ in range(5):
        log.event(logging.WARNING, "peer-fault", 1_000)
    log.event(logging.WARNING, "peer-fault", 2_000, points=5)
    fields = [item.fields for item in caplog.records]
    assert fields == [{}, {}, {"points": 5, "left_out_before": 3}]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_is_logged_with_its_event(as_json):
    shown = record("node-failed", chain=None)
    try:
        raise ValueError("because")
    except ValueError as error:
        shown.exc_info = (ValueError, error, error.__traceback__)
    text = (JsonFormatter() if as_json else TextFormatter()).format(shown)
    assert "ValueError: because" in text
    assert "node-failed" in text


def test_setting_up_twice_logs_once(capfd):
    log = logging.getLogger("gridmerit")
    before, level, propagate = list(log.handlers), log.level, log.propagate
    try:
        setup_logging("info")
        setup_logging("info")
        log_event(get_logger(), logging.INFO, "node-started")
        log_event(get_logger("jy1"), logging.DEBUG, "too quiet")
        log.handlers[0].flush()
        assert len(capfd.readouterr().err.splitlines()) == 1
    finally:
        log.handlers[:] = before
        log.setLevel(level)
        log.propagate = propagate


def _read_lines(descriptor):
    with open(descriptor, "rb") as stream:
        return stream.readlines()


def test_whoever_reads_the_log_may_stall_and_is_told_what_was_left_out():
    reading, writing = os.pipe()
    lines, found = 2_000, []
    with open(writing, "w") as stream:
        handler = BackgroundHandler(stream, max_waiting=10)
        handler.setFormatter(JsonFormatter())
        again = record("peer-found")
        for number in range(lines):  # several times what a pipe holds: written at once, they would never end
            handler.emit(record("peer-lost", detail="x" * 100, number=number))
        reader = Thread(target=lambda: found.extend(_read_lines(reading)))
        reader.start()
        handler.flush()
        handler.emit(again)
        handler.close()
    reader.join()
    said = [json.loads(line) for line in found]
    left_out = [line["count"] for line in said if line["event"] == "lines-left-out"]
    assert left_out
    assert sum(left_out) + sum(line["event"] == "peer-lost" for line in said) == lines
    assert said[-1]["event"] == "peer-found"


@pytest.fixture
def handled(monkeypatch):
    """A handler at a time that the test sets, and the lines that it has written."""
    stream, clock = StringIO(), {"ms": 0}
    monkeypatch.setattr("node.system.logs.steady_ms", lambda: clock["ms"])
    handler = BackgroundHandler(stream)
    handler.setFormatter(JsonFormatter())
    yield handler, clock, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    handler.close()


def emit_and_wait(handler, *records):
    for item in records:
        handler.emit(item)
    with handler._waiting.all_tasks_done:
        assert handler._waiting.all_tasks_done.wait_for(lambda: not handler._waiting.unfinished_tasks, PATIENCE_S)


def test_no_line_repeats_within_a_minute_and_then_it_says_how_often_it_came(handled):
    handler, clock, lines = handled
    emit_and_wait(handler, *(record("contacts-not-kept", detail="full") for _ in range(5)))
    emit_and_wait(handler, record("contacts-not-kept", detail="broken"), record("contacts-not-kept", chain="lh1"))
    said = [(line["chain"], line.get("detail"), line.get("repeated")) for line in lines()]
    assert said == [("jy1", "full", None), ("jy1", "broken", None), ("lh1", None, None)]
    clock["ms"] = 59_999
    emit_and_wait(handler, record("contacts-not-kept", detail="full"))
    assert len(lines()) == 3
    clock["ms"] = 60_000
    emit_and_wait(handler, record("peer-found"))
    assert [(line["event"], line.get("repeated")) for line in lines()[3:]] == [
        ("contacts-not-kept", 5),
        ("peer-found", None),
    ]


def test_what_is_held_back_is_told_though_nothing_else_happens():
    stream = StringIO()
    handler = BackgroundHandler(stream)
    handler.setFormatter(TextFormatter())
    for _ in range(3):
        handler.emit(record("clock-off"))
    handler.flush()
    assert [line.rpartition("clock-off")[2] for line in stream.getvalue().splitlines()] == ["", " repeated=2"]
    handler.close()


def test_counts_of_other_lines_make_no_new_line_and_none_is_lost(handled):
    handler, _, lines = handled
    for count in (None, 3, None, 4):
        counts = {} if count is None else {"left_out_before": count}
        emit_and_wait(handler, record("tls-refused", remote="::1", **counts))
    assert len(lines()) == 1
    handler.flush()
    assert [(line.get("repeated"), line.get("left_out_before")) for line in lines()] == [(None, None), (3, 7)]


def test_a_traceback_is_kept_as_text_and_told_from_another(handled):
    handler, _, lines = handled
    for number in (0, 0, 1):
        shown = record("api-bug")
        try:
            [7][number + 1] if number else 1 / number
        except (ArithmeticError, LookupError) as error:
            shown.exc_info = (type(error), error, error.__traceback__)
        handler.emit(shown)
    handler.flush()
    assert [line["traceback"].splitlines()[-1].partition(":")[0] for line in lines()] == [
        "ZeroDivisionError",
        "IndexError",
        "ZeroDivisionError",
    ]


def test_what_one_source_causes_again_and_again_is_told_ever_more_rarely_with_how_often():
    log = get_logger("repeated")
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.fields)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        repeated = RepeatedLog(LimitedLog(log), first_ms=1_000, longest_ms=4_000, max_sources=2)
        for now_ms in range(0, 20_000, 100):
            repeated.event(("NotActive", "n2"), logging.INFO, "batch-refused", now_ms, at=now_ms)
        assert [fields["at"] for fields in seen] == [0, 1_000, 3_000, 7_000, 11_000, 15_000, 19_000]
        assert [fields.get("left_out_of_this") for fields in seen] == [None, 9, 19, 39, 39, 39, 39]
        del seen[:]
        for source in ("n3", "n4", "n2"):
            repeated.event(("NotActive", source), logging.INFO, "batch-refused", 19_001, source=source)
        assert [fields["source"] for fields in seen] == ["n3", "n4", "n2"], "the oldest are forgotten"
    finally:
        log.removeHandler(handler)


def test_lists_stay_lists():
    line = JsonFormatter().format(record("votes-missing", period=4, members=["0a", "0b"]))
    assert json.loads(line)["members"] == ["0a", "0b"]
