"""Strategies of one's own in a process each, so that one that never returns, or ends, costs its player alone. A driver.

A thread could not be stopped, and a loop in C would hold up all others.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from random import Random
from typing import cast

from market.errors import StrategyFailed, StrategyFault
from market.strategies.built_in import BUILT_IN
from market.strategies.strategy import Act, Strategy, ask
from market.strategies.view import View
from simulation.errors import StrategyOverdue
from simulation.strategies import load_strategy

ANSWER_WITHIN_S = 10
_NURSERY = multiprocessing.get_context("forkserver")  # children of it share no thread and no file with this process
_NURSERY.set_forkserver_preload([__name__])


def open_strategy(reference: str) -> Strategy:
    """A new strategy; one that is not built in, secluded. Raises as `load_strategy`.

    A process that may have no children, as a cluster's, has it in itself.
    """
    strategy = load_strategy(reference)
    if reference in BUILT_IN or multiprocessing.current_process().daemon:
        return strategy
    kind = type(strategy)
    facts = {"looks_back": kind.looks_back, "looks": kind.looks, "storage": kind.storage}
    return cast(Strategy, type(kind.__name__, (Secluded,), facts)(reference))


class Secluded(Strategy):
    """A strategy that answers from its own process, which is begun when it is asked, and again after it was ended."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._pipe: Connection | None = None

    def answer(self, view: View, random: Random) -> Sequence[Act]:
        """Raises `StrategyOverdue`, `StrategyFailed`, and what `ask` does."""
        who = {"player": view.player, "strategy": type(self).__name__, "period": view.period}
        pipe = self._pipe = self._pipe or self._begin()
        try:
            pipe.send((view, random))
            if not pipe.poll(ANSWER_WITHIN_S):
                raise StrategyOverdue(**who, seconds=ANSWER_WITHIN_S)
            said = pipe.recv()
        except (EOFError, OSError) as error:
            self.close()
            self._process.join()
            detail = f"an end of its process, exit code {self._process.exitcode}"
            raise StrategyFailed(**who, detail=detail) from error
        except BaseException:
            self.close()
            raise
        if isinstance(said, StrategyFault):
            raise said
        return cast(Sequence[Act], said)

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._pipe is not None:
            self._process.kill()
            self._pipe = None

    def _begin(self) -> Connection:
        ours, theirs = _NURSERY.Pipe()
        self._process = _NURSERY.Process(target=_serve, args=(self._reference, theirs), daemon=True)
        self._process.start()
        theirs.close()
        return ours

    def __del__(self) -> None:
        self.close()


def _serve(reference: str, pipe: Connection) -> None:
    """Answer until nobody asks any more. Ctrl-C is the asker's, and who is left alone with a loop ends by an alarm."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    strategy = load_strategy(reference)
    with suppress(EOFError):
        while True:
            view, random = pipe.recv()
            signal.alarm(2 * ANSWER_WITHIN_S)
            pipe.send(_answer(strategy, view, random))
            signal.alarm(0)


def _answer(strategy: Strategy, view: View, random: Random) -> tuple[Act, ...] | StrategyFault:
    try:
        return ask(strategy, view, random)
    except StrategyFault as fault:
        return fault
