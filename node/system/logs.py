"""Logs to stderr, one line per event: JSON for machines, or plain text for people. Keys and passphrases never enter."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Hashable, Iterable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any, Protocol

from node.chain.rates import TokenBucket
from node.system.clock import steady_ms
from node.system.repeats import PAUSE_MS, Repeats

ROOT = "gridmerit"
_MAX_WAITING_LINES = 10_000
_FLUSH_S = 2.0
_COUNTS = ("left_out_before", "left_out_of_this")  # fields that tell of other lines
_PLAIN = logging.Formatter()


def get_logger(chain: str | None = None) -> logging.Logger:
    """The node's logger, or that of one of its chains."""
    return logging.getLogger(f"{ROOT}.{chain}" if chain else ROOT)


def log_event(log: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Log a named event with its values; bytes are shown as hex."""
    if log.isEnabledFor(level):
        log.log(level, event, extra={"fields": {name: _plain(value) for name, value in fields.items()}})


class LimitedLog:
    """Logs what others can cause as often as they like: `burst` at once, then `per_s`, and how many were left out."""

    def __init__(self, log: logging.Logger, *, burst: int = 50, per_s: int = 2) -> None:
        self._log = log
        self._bucket = TokenBucket(burst, per_s)
        self._left_out = 0

    def event(self, level: int, event: str, now_ms: int, /, **fields: object) -> None:
        if not self._log.isEnabledFor(level):
            return
        if not self._bucket.take(1, now_ms):
            self._left_out += 1
            return
        if self._left_out:
            fields["left_out_before"] = self._left_out
            self._left_out = 0
        log_event(self._log, level, event, **fields)


def setup_logging(level: str, *, as_json: bool = True, output: Output | None = None) -> None:
    """Send this process's logs to stderr, or where they are to go, replacing what was set up before."""
    handler = BackgroundHandler(output or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    log = logging.getLogger(ROOT)
    for old in list(log.handlers):
        log.removeHandler(old)
        old.close()
    log.addHandler(handler)
    set_level(level)
    log.propagate = False


def set_level(level: str) -> None:
    """Log what is as weighty as this, from now on."""
    logging.getLogger(ROOT).setLevel(level.upper())


def flush_logging() -> None:
    """Wait until the lines so far are written, those that are held back too: what is printed next comes after them."""
    for handler in logging.getLogger(ROOT).handlers:
        handler.flush()


class RepeatedLog:
    """A log of what one source causes again and again: at once, then after pauses that double.

    A line says how often it came meanwhile. Beyond `max_sources` the one that began first is forgotten.
    """

    def __init__(
        self, log: LimitedLog, *, first_ms: int = PAUSE_MS, longest_ms: int = 3_600_000, max_sources: int = 1_024
    ) -> None:
        self._log = log
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._max_sources = max_sources
        self._known: dict[tuple[str, ...], _Repetition] = {}

    def event(self, source: tuple[str, ...], level: int, event: str, now_ms: int, /, **fields: object) -> None:
        known = self._known.get(source)
        if known is None:
            self._known[source] = _Repetition(due_ms=now_ms + self._first_ms, pause_ms=self._first_ms)
            if len(self._known) > self._max_sources:
                del self._known[next(iter(self._known))]
        elif now_ms < known.due_ms:
            known.count += 1
            return
        else:
            pause_ms = min(2 * known.pause_ms, self._longest_ms)
            self._known[source] = _Repetition(due_ms=now_ms + pause_ms, pause_ms=pause_ms)
            fields["left_out_of_this"] = known.count
        self._log.event(level, event, now_ms, **fields)


@dataclass(slots=True)
class _Repetition:
    due_ms: int
    pause_ms: int
    count: int = 0


class Output(Protocol):
    """The destination of log lines."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...


class BackgroundHandler(logging.Handler):
    """A handler with a thread that writes the lines: their reader may stall, the node may not.

    A line that says what another has said within a minute is held back (`node.system.repeats`). Lines that find too
    many others waiting are left out; the next one that does not is preceded by their number.
    """

    def __init__(self, stream: Output, *, max_waiting: int = _MAX_WAITING_LINES) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: Queue[tuple[logging.LogRecord, int] | _Order] = Queue(max_waiting)
        self._left_out = 0
        self._thread = Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait((_detach(record), self._left_out))
            self._left_out = 0
        except Full:
            self._left_out += 1

    def flush(self) -> None:
        """Wait until what waits or is held back is written, though not for a reader that has stalled."""
        waiting = self._waiting
        with suppress(Full):
            waiting.put_nowait(_Order.WRITE_ALL)
        with waiting.all_tasks_done:
            waiting.all_tasks_done.wait_for(lambda: not waiting.unfinished_tasks, timeout=_FLUSH_S)

    def close(self) -> None:
        self.flush()
        with suppress(Full):
            self._waiting.put_nowait(_Order.END)
        super().close()

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        repeats = Repeats(_add_counts)
        while (item := self._take(repeats.due_ms)) is not _Order.END:
            self._write_repeated(repeats.take_due(steady_ms()))
            match item:
                case _Order.WRITE_ALL:
                    self._write_repeated(repeats.take_all())
                case record, left_out:
                    if left_out:
                        self._write(_make_gap(left_out))
                    if repeats.is_new(_kind_of(record), record, steady_ms()):
                        self._write(record)
            if item is not None:
                self._waiting.task_done()

    def _take(self, due_ms: int | None) -> tuple[logging.LogRecord, int] | _Order | None:
        """The next that waits; None where something held back is due before that."""
        try:
            return self._waiting.get(timeout=None if due_ms is None else max(0, due_ms - steady_ms()) / 1_000)
        except Empty:
            return None

    def _write_repeated(self, lines: Iterable[tuple[logging.LogRecord, int]]) -> None:
        for record, count in lines:
            self._write(_with_fields(record, {**_fields_of(record), "repeated": count}))

    def _write(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # there is no reader
            self._stream.write(f"{self.format(record)}\n")
            self._stream.flush()


class _Order(Enum):
    """Orders to the thread of a handler."""

    WRITE_ALL = auto()
    END = auto()


def _detach(record: logging.LogRecord) -> logging.LogRecord:
    """A copy that holds on to nothing but text."""
    detached = copy(record)
    detached.msg, detached.args = record.getMessage(), None
    detached.exc_text, detached.exc_info = _format_traceback(record), None
    return detached


def _kind_of(record: logging.LogRecord) -> Hashable:
    """The same for lines that say the same."""
    said = {name: value for name, value in _fields_of(record).items() if name not in _COUNTS}
    return record.name, record.levelno, record.msg, repr(said), record.exc_text


def _add_counts(held: logging.LogRecord, record: logging.LogRecord) -> logging.LogRecord:
    """The later line, with the counts of both."""
    before, fields = _fields_of(held), _fields_of(record)
    counts = {name: before.get(name, 0) + fields.get(name, 0) for name in _COUNTS if name in {**before, **fields}}
    return _with_fields(record, {**fields, **counts})


def _make_gap(count: int) -> logging.LogRecord:
    gap = logging.LogRecord(ROOT, logging.WARNING, "", 0, "lines-left-out", None, None)
    return _with_fields(gap, {"count": count})


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def _with_fields(record: logging.LogRecord, fields: dict[str, Any]) -> logging.LogRecord:
    other = copy(record)
    other.__dict__["fields"] = fields
    return other


class JsonFormatter(logging.Formatter):
    """`{"ts": ISO 8601 UTC, "level": …, "chain": …, "event": …, fields…}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"ts": _timestamp(record), "level": record.levelname.lower()}
        if chain := _chain_of(record):
            line["chain"] = chain
        line["event"] = record.getMessage()
        line.update(_fields_of(record))
        if traceback := _format_traceback(record):
            line["traceback"] = traceback
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`time LEVEL chain event name=value …`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_quote(value)}" for name, value in _fields_of(record).items())
        parts = [_timestamp(record), record.levelname, _chain_of(record), record.getMessage(), fields]
        line = " ".join(part for part in parts if part)
        traceback = _format_traceback(record)
        return f"{line}\n{traceback}" if traceback else line


def _format_traceback(record: logging.LogRecord) -> str:
    return record.exc_text or (_PLAIN.formatException(record.exc_info) if record.exc_info else "")


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _chain_of(record: logging.LogRecord) -> str:
    return record.name.removeprefix(ROOT).removeprefix(".")


def _quote(value: object) -> str:
    """A value that cannot pass for something else, such as a line of its own."""
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text, ensure_ascii=True)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, int | str | list | None) else str(value)
