"""An hour of the game: its players' energy, values and bounds, checked; and the four prices. Plain Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from types import MappingProxyType
from typing import TypeGuard, TypeVar

from market.errors import BadHour, NoSupplyMargin, PriceOutOfBounds

DIRECTIONS = ("g_to_u", "g_to_c", "c_to_u", "c_to_g")
WH_PER_KWH = 1_000
MAX_WH = 10**15
MAX_PRICE = 10.0  # yuan/kWh; above it a subsidy of 0.05·P² pays more than the kWh costs, and prices mean nothing
_LEAST_MARGIN = 1e-12  # of the firm demand: less is lost in a float
_RANGES = {"mu": (0.02, 0.2), "phi": (0.0, 1.0), "subsidy": (0.0, 1.0), "feed_in": (0.0, MAX_PRICE)}

PAPER_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"g_to_u": (0.5, 0.7), "g_to_c": (0.5, 0.7), "c_to_u": (0.4, 0.6), "c_to_g": (0.4, 0.6)}
)

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The four prices of an hour, yuan/kWh: company to user and to bureau, bureau to user and to company.

    A number where the hour gives its one company or bureau as a number, one for each where it lists them.
    """

    g_to_u: float | tuple[float, ...]
    g_to_c: float | tuple[float, ...]
    c_to_u: float | tuple[float, ...]
    c_to_g: float | tuple[float, ...]

    def of(self, direction: str) -> tuple[float, ...]:
        """The prices of one direction, one for each seller."""
        return as_tuple(getattr(self, direction))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """The players of one hour, Eq. (9): energy in Wh, prices and values in yuan/kWh.

    `surplus_wh` and `shortage_wh` say what companies have and lack, `bureau_capacity_wh` what bureaus can generate
    (None: one bureau, that could serve every user). Each is a number, or a list with one for each player; so are values
    and costs, where one number holds for all. Raises `BadHour`.
    """

    surplus_wh: int | Sequence[int]
    shortage_wh: int | Sequence[int]
    user_load_wh: Sequence[int]
    mu: float = 0.05
    """The sharpness of a choice, yuan/kWh: towards 0 the cheapest is taken first."""
    phi: float = 0.3
    """The flexible part of a demand, which goes without where a kWh costs more than it is worth."""
    bureau_capacity_wh: int | Sequence[int] | None = None
    bureau_cost: float | Sequence[float] = 0.4
    value_company: float | Sequence[float] = 0.6
    value_bureau: float | Sequence[float] = 0.5
    value_user: float | Sequence[float] = 0.5
    subsidy: float = 0.05
    """s of Eqs (3), (6) and (8), paid at s · price² on what a bureau sells."""
    feed_in: float = 0.41
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=lambda: PAPER_BOUNDS)

    def __post_init__(self) -> None:
        if self.bureau_capacity_wh is None:
            capacity_wh = sum(_check_all("user_load_wh", self.user_load_wh, _check_wh))
            object.__setattr__(self, "bureau_capacity_wh", capacity_wh)
        for name in ("surplus_wh", "shortage_wh", "user_load_wh", "bureau_capacity_wh"):
            object.__setattr__(self, name, _check_each(name, getattr(self, name), _check_wh))
        for name in ("bureau_cost", "value_company", "value_bureau", "value_user"):
            object.__setattr__(self, name, _check_each(name, getattr(self, name), _check_price))
        for name, (low, high) in _RANGES.items():
            object.__setattr__(self, name, _check_number(name, getattr(self, name), low, high))
        object.__setattr__(self, "bounds", _check_bounds(self.bounds))
        self._check_counts()

    def _check_counts(self) -> None:
        if isinstance(self.user_load_wh, int):
            raise BadHour(field="user_load_wh", have=self.user_load_wh, want="a list, one load for each user")
        if isinstance(self.surplus_wh, int) != isinstance(self.shortage_wh, int):
            raise BadHour(field="shortage_wh", have=self.shortage_wh, want="a number or a list, as surplus_wh is")
        counts = (
            ("shortage_wh", self.companies),
            ("value_company", self.companies),
            ("bureau_cost", self.bureaus),
            ("value_bureau", self.bureaus),
            ("value_user", self.users),
        )
        for name, count in counts:
            values = getattr(self, name)
            if isinstance(values, tuple) and len(values) != count:
                raise BadHour(field=name, have=f"{len(values)} values", want=f"{count}, one for each")

    @property
    def companies(self) -> int:
        """The number N of microgrid companies."""
        return len(as_tuple(self.surplus_wh))

    @property
    def bureaus(self) -> int:
        """The number M of energy bureaus."""
        return len(self._capacities_wh())

    @property
    def users(self) -> int:
        """The number K of ordinary users."""
        return len(self.user_load_wh)

    def _capacities_wh(self) -> tuple[int, ...]:
        assert self.bureau_capacity_wh is not None, "set when the hour was made"
        return as_tuple(self.bureau_capacity_wh)

    def kwh(self, name: str) -> tuple[float, ...]:
        """An energy field in kWh, one for each player."""
        return tuple(wh / WH_PER_KWH for wh in as_tuple(getattr(self, name)))

    def per_player(self, name: str) -> tuple[float, ...]:
        """A value or cost, one for each player."""
        count = {"bureau_cost": self.bureaus, "value_bureau": self.bureaus, "value_company": self.companies}
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,) * count.get(name, self.users)

    def shares(self) -> tuple[float, ...]:
        """Each bureau's share of the trade with companies: that of the capacity, or equal shares of none."""
        capacity = self._capacities_wh()
        total = sum(capacity)
        return tuple(one / total if total else 1 / len(capacity) for one in capacity)

    def check_margin(self) -> None:
        """Raises `NoSupplyMargin` where users need at any price all that there is or more, or nobody has anything."""
        load_wh = sum(self.user_load_wh)
        firm_wh = (1 - self.phi) * load_wh
        supply_wh = sum(as_tuple(self.surplus_wh)) + sum(self._capacities_wh())
        if load_wh and supply_wh <= firm_wh * (1 + _LEAST_MARGIN):
            raise NoSupplyMargin(have=supply_wh, want=ceil(firm_wh))

    def check_prices(self, prices: Prices) -> None:
        """Eq. (13): every price within its bounds. Raises `PriceOutOfBounds`."""
        for direction in DIRECTIONS:
            low, high = self.bounds[direction]
            quotes = prices.of(direction)
            count = self.companies if direction.startswith("g") else self.bureaus
            if len(quotes) != count:
                raise PriceOutOfBounds(direction=direction, have=f"{len(quotes)} prices", low=low, high=high)
            for price in quotes:
                if not low <= price <= high:  # and so NaN is refused
                    raise PriceOutOfBounds(direction=direction, have=price, low=low, high=high)

    def make_prices(self, **by_direction: Sequence[float]) -> Prices:
        """Prices in the form in which this hour gives its players."""
        lists = {"g": not isinstance(self.surplus_wh, int), "c": not isinstance(self.bureau_capacity_wh, int)}
        return Prices(
            **{
                direction: tuple(map(float, quotes)) if lists[direction[0]] else float(quotes[0])
                for direction, quotes in by_direction.items()
            }
        )


def as_tuple(value: T | Sequence[T]) -> tuple[T, ...]:
    """One number as a tuple of it, a list as a tuple."""
    return (value,) if isinstance(value, int | float) else tuple(value)


# --- what is checked ------------------------------------------------------------------------------


def _check_each(name: str, value: object, check: Callable[[str, object], T]) -> T | tuple[T, ...]:
    """A number or a list of numbers, each as checked."""
    return _check_all(name, value, check) if _is_list(value) else check(name, value)


def _check_all(name: str, value: object, check: Callable[[str, object], T]) -> tuple[T, ...]:
    if not _is_list(value):
        raise BadHour(field=name, have=repr(value), want="a list of numbers")
    return tuple(check(name, one) for one in value)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _check_wh(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_WH:
        raise BadHour(field=name, have=repr(value), want="whole Wh from 0 to 10^15")
    return value


def _check_price(name: str, value: object) -> float:
    return _check_number(name, value, 0.0, MAX_PRICE)


def _check_number(name: str, value: object, low: float, high: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:  # NaN neither
        raise BadHour(field=name, have=repr(value), want=f"a number from {low:g} to {high:g}")
    return float(value)


def _check_bounds(bounds: object) -> Mapping[str, tuple[float, float]]:
    if not isinstance(bounds, Mapping) or set(bounds) != set(DIRECTIONS):
        raise BadHour(field="bounds", have=repr(bounds), want=f"a pair for each of {', '.join(DIRECTIONS)}")
    checked: dict[str, tuple[float, float]] = {}
    for direction in DIRECTIONS:
        pair = _check_all(f"bounds of {direction}", bounds[direction], _check_price)
        if len(pair) != 2 or pair[0] > pair[1]:
            raise BadHour(field=f"bounds of {direction}", have=repr(pair), want="the lower and the upper one")
        checked[direction] = (pair[0], pair[1])
    return checked
