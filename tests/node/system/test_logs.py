"""One line per event, for machines or for people, and no secret in either."""

import json
import logging
import os
from datetime import datetime
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
        lost, again = record("peer-lost", detail="x" * 100), record("peer-found")
        for _ in range(lines):  # several times what a pipe holds: written at once, they would never end
            handler.emit(lost)
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
