"""SIGTERM and SIGHUP end a command as Ctrl-C does, in a loop and out of it; an ignored one is left ignored."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from gridmerit.commands.interruption import end_as_interrupted

ENDS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Python's own handling of these signals during a test, and what was there after it."""
    before = {number: signal.getsignal(number) for number in (*ENDS, signal.SIGINT)}
    for number in ENDS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN], ids=["heard", "ignored"])
def test_a_signal_interrupts_also_where_ctrl_c_is_ignored(number: signal.Signals, ctrl_c: signal._HANDLER) -> None:
    signal.signal(signal.SIGINT, ctrl_c)
    end_as_interrupted()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("number", ENDS)
def test_in_a_loop_it_cancels_the_main_task(number: signal.Signals) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            signal.raise_signal(number)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    end_as_interrupted()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(work())
    assert ended == ["cancelled"]


@pytest.mark.parametrize("number", ENDS)
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    end_as_interrupted()
    signal.raise_signal(number)
