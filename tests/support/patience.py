"""The patience of a test: how long it waits before it has failed, on however busy a machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 120.0
T = TypeVar("T")


def until(condition: Callable[[], T]) -> T:
    """Wait for what other processes do: the condition's first value that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found
