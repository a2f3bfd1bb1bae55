"""A battery behind a player's meter, in whole Wh: it keeps what was agreed, and loses what its efficiency says."""

from __future__ import annotations

from typing import NamedTuple

_PPM = 1_000_000


class Flow(NamedTuple):
    """The energy that a battery took in and gave out at the meter in a period, and lost on the way, Wh."""

    drawn_wh: int = 0
    given_wh: int = 0
    lost_wh: int = 0


class Storage(NamedTuple):
    """A battery: what it holds at most, what passes in a period, and the part of what it takes in that it keeps."""

    capacity_wh: int
    power_wh: int
    efficiency_ppm: int
    charge_wh: int = 0

    @property
    def room_wh(self) -> int:
        """The most that it can draw in a period, at the meter."""
        fits_wh = (self.capacity_wh - self.charge_wh) * _PPM // self.efficiency_ppm
        return min(self.power_wh, fits_wh)

    @property
    def supply_wh(self) -> int:
        """The most that it can give in a period, at the meter."""
        return min(self.power_wh, self.charge_wh)

    def balance(self, excess_wh: int) -> tuple[Storage, Flow]:
        """Draw an excess, or give what is lacking where it is negative, as far as it goes; the rest is the grid's.

        drawn - given - lost is the change of the charge, exactly.
        """
        if excess_wh >= 0:
            drawn_wh = min(excess_wh, self.room_wh)
            kept_wh = drawn_wh * self.efficiency_ppm // _PPM
            return self._replace(charge_wh=self.charge_wh + kept_wh), Flow(drawn_wh, 0, drawn_wh - kept_wh)
        given_wh = min(-excess_wh, self.supply_wh)
        return self._replace(charge_wh=self.charge_wh - given_wh), Flow(given_wh=given_wh)
