"""Strategies of one's own in a process each, so that one that never returns, or ends, costs its player alone. A driver.

A thread could not be stopped, and a loop in C would hold up all others. Its file is run in that process alone.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from random import Random
from typing import NamedTuple, cast

from ledger.errors import GridmeritError
from market.errors import StrategyFailed, StrategyFault
from market.strategies.built_in import BUILT_IN
from market.strategies.storage import Storage
from market.strategies.strategy import Act, Strategy, ask
from market.strategies.view import View
from simulation.errors import NotAStrategy, StrategyNotLoaded, StrategyOverdue
from simulation.strategies import load_strategy

LOAD_WITHIN_S = 30  # what it imports may take its time
ANSWER_WITHIN_S = 10
_NURSERY = multiprocessing.get_context("forkserver")  # children of it share no thread and no file with this process
_NURSERY.set_forkserver_preload([__name__])


class _Facts(NamedTuple):
    """A strategy as its process describes it: its name, and the facts of its class."""

    name: str
    looks_back: int
    looks: int
    storage: tuple[int, ...] | None


def open_strategy(reference: str) -> Strategy:
    """A new strategy; one that is not built in, secluded. Raises as `load_strategy`, and `StrategyNotLoaded`.

    A process that may have no children, as a cluster's, has it in itself.
    """
    if reference in BUILT_IN or multiprocessing.current_process().daemon:
        return load_strategy(reference)
    cell = _Cell(reference)
    said = cell.begin()
    facts = {
        "looks_back": said.looks_back,
        "looks": said.looks,
        "storage": None if said.storage is None else Storage(*said.storage),
    }
    return cast(Strategy, type(said.name, (Secluded,), facts)(cell))


class _Cell:
    """The process of a strategy."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._process: BaseProcess | None = None

    def begin(self) -> _Facts:
        """Begin it, and let it load the strategy. Raises as `open_strategy`."""
        self.pipe, theirs = _NURSERY.Pipe()
        self._process = _NURSERY.Process(target=_serve, args=(self._reference, theirs), daemon=True)
        self._process.start()
        theirs.close()
        try:
            if not self.pipe.poll(LOAD_WITHIN_S):
                raise StrategyNotLoaded(reference=self._reference, seconds=LOAD_WITHIN_S)
            said = self.pipe.recv()
            if isinstance(said, GridmeritError):
                raise said
        except (EOFError, OSError) as error:
            raise NotAStrategy(reference=self._reference, detail=self.mourn()) from error
        except BaseException:
            self.close()
            raise
        return cast(_Facts, said)

    @property
    def is_open(self) -> bool:
        return self._process is not None

    def close(self) -> None:
        """End it, whatever it does; two threads may at once, who asks and who wants nothing more of it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def mourn(self) -> str:
        """The words for a process that has ended."""
        process = self._process
        self.close()
        if process is None:
            return "its process was ended"
        process.join()
        return f"an end of its process, exit code {process.exitcode}"


class Secluded(Strategy):
    """A strategy that answers from its own process, which is begun again when it is asked after it was ended."""

    def __init__(self, cell: _Cell) -> None:
        self._cell = cell

    def answer(self, view: View, random: Random) -> Sequence[Act]:
        """Raises `StrategyOverdue`, `StrategyFailed`, and what `ask` does."""
        who = {"player": view.player, "strategy": type(self).__name__, "period": view.period}
        cell = self._cell
        if not cell.is_open:
            cell.begin()
        try:
            cell.pipe.send((view, random))
            if not cell.pipe.poll(ANSWER_WITHIN_S):
                raise StrategyOverdue(**who, seconds=ANSWER_WITHIN_S)
            said = cell.pipe.recv()
        except (EOFError, OSError) as error:
            raise StrategyFailed(**who, detail=cell.mourn()) from error
        except BaseException:
            cell.close()
            raise
        if isinstance(said, StrategyFault):
            raise said
        return cast(Sequence[Act], said)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._cell.close()

    def __del__(self) -> None:
        self.close()


def _serve(reference: str, pipe: Connection) -> None:
    """Say what it is, and answer until nobody asks any more.

    Ctrl-C is the asker's, and who is left alone with a loop ends by an alarm.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.alarm(2 * LOAD_WITHIN_S)
    try:
        strategy = load_strategy(reference)
    except GridmeritError as error:
        pipe.send(error)
        return
    kind = type(strategy)
    storage = None if kind.storage is None else tuple(kind.storage)
    pipe.send(_Facts(kind.__name__, kind.looks_back, kind.looks, storage))
    signal.alarm(0)
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
