"""Two sides of a comparison by turns, in the processor's time."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time


def take_turns(*works: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of the processor that the best run of each takes."""
    seconds = [float("inf")] * len(works)
    for _ in range(rounds):
        for place, work in enumerate(works):
            start = process_time()
            work()
            seconds[place] = min(seconds[place], process_time() - start)
    return seconds
