"""Signals as tests send them to processes of their own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heard(number: signal.Signals) -> Iterator[None]:
    """Have processes that are started within hear a signal, also where it is ignored here, as under nohup."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, before)
