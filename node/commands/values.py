"""Amounts as people write them, into integers of the smallest unit; nothing is ever rounded."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

_DECIMAL = re.compile(r"\d{1,12}(?:\.(\d+))?", re.ASCII)


def parse_yuan(text: str) -> int:
    """`12.5` yuan in µ¥."""
    return _parse_scaled(text, 6, "yuan, such as 12.50")


def parse_kwh(text: str) -> int:
    """`59.796` kWh in Wh."""
    return _parse_scaled(text, 3, "kWh, such as 59.796")


def parse_share(text: str) -> int:
    """`0.75` in ppm."""
    share_ppm = _parse_scaled(text, 6, "a share, such as 0.75")
    if share_ppm > 1_000_000:
        raise click.UsageError(f"{text!r} is more than all: want a share from 0 to 1")
    return share_ppm


def _parse_scaled(text: str, digits: int, want: str) -> int:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise click.UsageError(f"{text!r} is not an amount of {want}")
    decimals = match[1] or ""
    if len(decimals.rstrip("0")) > digits:
        raise click.UsageError(f"{text!r} has more than {digits} decimals: an amount of {want}")
    whole = text.partition(".")[0]
    return int(whole + decimals[:digits].ljust(digits, "0"))


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
