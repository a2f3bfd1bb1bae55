"""Progress of long work on stderr: a bar where that is a terminal, lines where it is a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gridmerit.output import note, stderr_is_terminal
from simulation.errors import MissingExtra
from simulation.experiments.runner import OnProgress


@contextmanager
def show_progress(total: int, unit: str = "trial") -> Iterator[OnProgress]:
    """On stderr: a bar with the time to go where that is a terminal, else a line for each twentieth, as in a file.

    Raises `MissingExtra` without tqdm, which is imported here as it belongs to an extra.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        raise MissingExtra(what=f"progress of {unit}s", package="tqdm", extra="lab") from None

    if not stderr_is_terminal():
        twentieths = -1

        def on_line(done: int, _total: int) -> None:
            nonlocal twentieths
            if 20 * done // total > twentieths:
                twentieths = 20 * done // total
                note(f"{done:,} of {total:,} {unit}s")

        yield on_line
        return
    with tqdm(total=total, unit=unit, dynamic_ncols=True) as bar:
        has_begun = False

        def on_progress(done: int, _total: int) -> None:
            nonlocal has_begun
            if not has_begun:
                bar.initial = done  # of an earlier sitting: no part of the speed
                has_begun = True
            bar.update(done - bar.n)

        yield on_progress
