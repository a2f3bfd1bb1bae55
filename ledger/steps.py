"""Long work in steps: a generator rests where whoever drives it may do something else first, and returns its result."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]


def take_all(steps: Steps[T]) -> T:
    """Take one step after the other to the end; the result. Raises what the work does."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class Run(Generic[T]):
    """Work that is under way: `result` once it `is_over`, else None. What it raises leaves it without one."""

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self.is_over = False
        self.result: T | None = None

    def go_on(self) -> None:
        """Take the next step. Raises what the work does."""
        try:
            next(self._steps)
        except StopIteration as end:
            self.is_over, self.result = True, end.value
