"""Periods whose trades came to nothing: why, in words, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from market.trading.gates import NO_CERTIFICATE, NO_COUNTERSIGNATURE, NO_VERDICT, UNMETERED


class Failure(NamedTuple):
    """The thing that did not come in time, and what its reader can do so that the next one's does."""

    detail: str
    remedy: str


_FAILURES = {
    "": Failure("", ""),
    NO_CERTIFICATE: Failure(
        "its gate block was not certified by the deadline{votes}",
        "gridmerit net status DIR: who signs must run and be connected before the next gate",
    ),
    NO_VERDICT: Failure(
        "the scheduling chain's verdict on its trades did not come by the deadline",
        "gridmerit grid {period}, and gridmerit net status DIR for how the scheduling chain gets on",
    ),
    NO_COUNTERSIGNATURE: Failure(
        "the authority did not countersign its trades by the deadline",
        "gridmerit authority countersign PERIOD --node DIR, for the next one in time",
    ),
    UNMETERED: Failure(
        "not one meter was read: nobody pays, nobody is scored",
        "gridmerit agents DIR --only readings, or gridmerit tx send reading --help, for the next one in time",
    ),
}


def describe_failure(period: int, reason: str, missing: Sequence[str] = ()) -> Failure:
    """Say why a period is void or lapsed, by one of `market.trading.gates.REASONS`; two empty texts where it is not.

    `missing` names those whose votes a certificate lacked, as far as a node knows.
    """
    failure = _FAILURES[reason]
    votes = f": no vote of {', '.join(missing)} was heard" if missing else ""
    return Failure(*(text.format(period=period, votes=votes) for text in failure))
