"""Logs to stderr, one line per event: JSON for machines, or plain text for people. Keys and passphrases never enter."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

ROOT = "gridmerit"


def get_logger(chain: str | None = None) -> logging.Logger:
    """The node's logger, or that of one of its chains."""
    return logging.getLogger(f"{ROOT}.{chain}" if chain else ROOT)


def log_event(log: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Log a named event with its values; bytes are shown as hex."""
    if log.isEnabledFor(level):
        log.log(level, event, extra={"fields": {name: _plain(value) for name, value in fields.items()}})


def setup_logging(level: str, *, as_json: bool = True) -> None:
    """Send this process's logs to stderr, replacing what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    log = logging.getLogger(ROOT)
    for old in list(log.handlers):
        log.removeHandler(old)
    log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False


class JsonFormatter(logging.Formatter):
    """`{"ts": ISO 8601 UTC, "level": …, "chain": …, "event": …, fields…}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"ts": _timestamp(record), "level": record.levelname.lower()}
        if chain := _chain_of(record):
            line["chain"] = chain
        line["event"] = record.getMessage()
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`time LEVEL chain event name=value …`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_quote(value)}" for name, value in getattr(record, "fields", {}).items())
        parts = [_timestamp(record), record.levelname, _chain_of(record), record.getMessage(), fields]
        line = " ".join(part for part in parts if part)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


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
    return value if isinstance(value, int | str | None) else str(value)
