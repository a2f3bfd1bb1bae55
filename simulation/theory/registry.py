"""Formulas usable by name: their parameters with bounds, their source, and the errors of bad values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from math import inf, isfinite
from typing import Generic, Literal, ParamSpec, TypeAlias, TypeVar

from simulation.errors import BadParameter
from simulation.experiments.scenario import Theory

Argument: TypeAlias = float | int | tuple[float, ...]
Result: TypeAlias = float | tuple[float, ...] | Mapping[str, float]

P = ParamSpec("P")
R = TypeVar("R", bound=Result, covariant=True)

MAX_LIST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument of a formula: what it means, with its unit, and the bounds of it or of each of its items."""

    name: str
    about: str
    default: Argument
    kind: Literal["int", "float", "list"] = "float"
    low: float = 0
    high: float = inf
    is_low_open: bool = False
    is_high_open: bool = False
    may_be_empty: bool = False

    @property
    def bounds(self) -> str:
        """The interval as mathematics writes it, such as `[0, 1)`."""
        opening = "(" if self.is_low_open else "["
        closing = ")" if self.is_high_open or self.high == inf else "]"
        return f"{opening}{self.low:g}, {'∞' if self.high == inf else f'{self.high:g}'}{closing}"

    def parse(self, theory: str, text: str) -> Argument:
        """Parse what a user wrote, a list separated by commas. Raises `BadParameter` for what is no number."""
        try:
            if self.kind == "int":
                return int(text)
            if self.kind == "float":
                return float(text)
            return tuple(float(item) for item in text.split(",")) if text.strip() else ()
        except ValueError:
            wanted = {"int": "a whole number", "float": "a number", "list": "numbers separated by commas"}[self.kind]
            raise self._refuse(theory, text, f"want {wanted}") from None

    def check(self, theory: str, value: object) -> None:
        """Raises `BadParameter` for a value of another kind or out of bounds."""
        items = list(value) if self.kind == "list" and isinstance(value, (list, tuple)) else [value]
        if not items and not self.may_be_empty:
            raise self._refuse(theory, value, "want at least one number")
        if len(items) > MAX_LIST:
            raise self._refuse(theory, f"{len(items)} numbers", f"want at most {MAX_LIST} numbers")
        for item in items:
            if isinstance(item, bool) or not isinstance(item, int if self.kind == "int" else (int, float)):
                raise self._refuse(theory, item, f"want {'a whole number' if self.kind == 'int' else 'a number'}")
            if not self._is_inside(item):
                raise self._refuse(theory, item, f"want {'each ' if self.kind == 'list' else ''}in {self.bounds}")

    def _is_inside(self, item: float) -> bool:
        above = item > self.low if self.is_low_open else item >= self.low
        below = item < self.high if self.is_high_open else item <= self.high
        return above and below and isfinite(item)

    def _refuse(self, theory: str, value: object, detail: str) -> BadParameter:
        return BadParameter(theory=theory, parameter=self.name, value=value, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class TheoryFunction(Generic[P, R]):
    """A formula to call like the function it was, which now raises `BadParameter` for what is out of bounds."""

    name: str
    about: str
    source: str
    parameters: tuple[Parameter, ...]
    result: str
    compute: Callable[P, R]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        names = [parameter.name for parameter in self.parameters]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for parameter in self.parameters:
            if parameter.name in given:
                parameter.check(self.name, given[parameter.name])
        return self.compute(*args, **kwargs)

    def predict(self, *args: P.args, **kwargs: P.kwargs) -> Theory:
        """The number with its name and source, as a report shows it."""
        value = self(*args, **kwargs)
        assert isinstance(value, (int, float)), f"{self.name} is not one number"
        return Theory(name=self.name, value=value, source=self.source)

    def name_values(self, value: Result) -> dict[str, float]:
        """A result by name: `result` itself, or `result_1`, `result_2`, … of a list."""
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, tuple):
            return {f"{self.result}_{number}": item for number, item in enumerate(value, start=1)}
        return {self.result: value}


def formula(*parameters: Parameter, source: str, result: str) -> Callable[[Callable[P, R]], TheoryFunction[P, R]]:
    """Make a function a `TheoryFunction`; the first line of its docstring says what it is about."""

    def wrap(function: Callable[P, R]) -> TheoryFunction[P, R]:
        assert [parameter.name for parameter in parameters] == list(signature(function).parameters), function
        assert function.__doc__, function
        about = function.__doc__.strip().splitlines()[0]
        return TheoryFunction(
            name=function.__name__, about=about, source=source, parameters=parameters, result=result, compute=function
        )

    return wrap
