"""Signals that end a command as Ctrl-C does."""

from __future__ import annotations

import signal
from types import FrameType


def end_as_interrupted() -> None:
    """Have SIGTERM and SIGHUP end the command as Ctrl-C does; where one is ignored, as under nohup, it stays so."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End as by Ctrl-C: where a loop runs that is its main task's cancellation, which leaves nobody waiting."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)
