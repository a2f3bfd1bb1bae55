"""Amounts as people write them, into integers of the smallest unit; nothing is ever rounded."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from ledger.units import format_scaled
from market.credit.score import MAX_NATURAL_FACTOR_PPM
from market.metering import MAX_ENERGY_WH
from market.trading.contract import MAX_PRICE_UYUAN_PER_KWH

_MOST_UYUAN = 10**18  # a million million yuan: more than any account holds, well below 2**63
_MOST_UPT = 10**15  # a thousand million points
_WHOLE_PPM = 1_000_000
_DECIMAL = re.compile(r"(\d+)(?:\.(\d+))?", re.ASCII)
_EXPONENT = re.compile(r"[-+]?[\d.]+e[-+]?\d+", re.ASCII | re.IGNORECASE)
_MINUS = ("-", "\N{MINUS SIGN}", "\N{EN DASH}")
_SHOWN = 40  # characters of what was typed


def parse_yuan(text: str) -> int:
    """`12.5` yuan in µ¥. Raises a usage error that says what is wrong with it, as all of these do."""
    return _parse_scaled(text, 6, _MOST_UYUAN, "yuan", "12.50", least=1)


def parse_price(text: str) -> int:
    """`0.45` yuan per kWh in µ¥ per kWh."""
    return _parse_scaled(text, 6, MAX_PRICE_UYUAN_PER_KWH, "yuan per kWh", "0.45", least=1)


def parse_kwh(text: str, *, least: int = 0) -> int:
    """`59.796` kWh in Wh."""
    return _parse_scaled(text, 3, MAX_ENERGY_WH, "kWh", "59.796", least=least)


def parse_points(text: str) -> int:
    """`12.5` points of credit in micro-points."""
    return _parse_scaled(text, 6, _MOST_UPT, "points", "12.5")


def parse_share(text: str) -> int:
    """`0.75` in ppm."""
    return _parse_scaled(text, 6, _WHOLE_PPM, "of all", "0.75")


def _parse_scaled(text: str, digits: int, most: int, unit: str, example: str, *, least: int = 0) -> int:
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
    want = f"want an amount of {unit}, such as {example}"
    match = _DECIMAL.fullmatch(text)
    if match is None:
        if text.startswith(_MINUS):
            raise click.UsageError(f"{shown} is negative: {want}")
        if _EXPONENT.fullmatch(text):
            raise click.UsageError(f"{shown} has an exponent, which is not taken: {want}")
        raise click.UsageError(f"{shown} is not a number: {want}")
    decimals = (match[2] or "").rstrip("0")
    if len(decimals) > digits:
        raise click.UsageError(f"{shown} has more than {digits} decimals: {want}")
    # Thousands of digits are not converted to see that they are too many.
    whole = match[1].lstrip("0")
    if len(whole) > len(str(most)) or (value := int((whole or "0") + decimals.ljust(digits, "0"))) > most:
        raise click.UsageError(f"{shown} is too large: at most {format_scaled(most, digits)} {unit}")
    if value < least:
        raise click.UsageError(f"{shown} is too small: at least {format_scaled(least, digits)} {unit}")
    return value


def parse_natural_factor(text: str) -> int:
    """`0.15`, an α of Eq. (12) of text 000, in ppm: 0 … 0.3, with at most six decimals."""
    match = _DECIMAL.fullmatch(text)
    decimals = (match[2] or "") if match else ""
    factor_ppm = int(match[1] + decimals[:6].ljust(6, "0")) if match else -1
    if not 0 <= factor_ppm <= MAX_NATURAL_FACTOR_PPM or len(decimals.rstrip("0")) > 6:
        raise click.UsageError(f"{text!r} is no α of Eq. (12): want 0 … 0.3 in at most six decimals, such as 0.15")
    return factor_ppm


def parse_pairs(texts: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` of the command line, each key once."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise click.UsageError(f"{text!r} is not of the form KEY=VALUE")
        if key in pairs:
            raise click.UsageError(f"{key} is given twice; several values: {key}={pairs[key]},{value}")
        pairs[key] = value
    return pairs


def parse_names(text: str) -> list[str]:
    """Names with commas between them, each once."""
    names = list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if not names:
        raise click.UsageError(f"{text!r} names nothing: want names with commas between them, such as du1,jy1,lh1")
    return names
