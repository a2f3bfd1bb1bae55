"""Integers in JSON: which are numbers, and which are decimal strings.

Many readers keep a number as a double, which is exact below 2^53 alone. So amounts of money (`…_uyuan`), satoshis
(`…_sat`), serials, and the integers in payloads and in the values of errors are decimal strings, always. Every other
integer, a price too, stays below 2^53 and is a number. Types say so in `answers.py`; here it is said by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXACT_SUFFIXES = ("_uyuan", "_sat", "serial")  # of the names of fields


def show_exact(value: Any, name: str = "") -> Any:
    """A field's value as JSON has it, and the fields inside it."""
    match value:
        case Mapping():
            return {key: show_exact(item, str(key)) for key, item in value.items()}
        case list() | tuple():
            return [show_exact(item, name) for item in value]
        case int() if name.endswith(EXACT_SUFFIXES):
            return str(value)
    return value
