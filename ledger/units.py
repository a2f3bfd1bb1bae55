"""Amounts as people read them: exact decimals of integers, in yuan, kWh and points."""

from __future__ import annotations

from string import Formatter


def format_scaled(value: int, digits: int, *, least: int = 0) -> str:
    """`value / 10**digits` exactly, in groups of three, without trailing zeros beyond `least` decimals."""
    whole, part = divmod(abs(value), 10**digits)
    decimals = f"{part:0{digits}d}".rstrip("0").ljust(least, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole:,}" + (f".{decimals}" if decimals else "")


def format_yuan(amount_uyuan: int, *, aligned: bool = False) -> str:
    """Yuan, or yuan per kWh; `aligned` with all six decimals, so that a column of them lines up."""
    return format_scaled(amount_uyuan, 6, least=6 if aligned else 2)


def format_kwh(energy_wh: int) -> str:
    return format_scaled(energy_wh, 3, least=3)


class MessageFormatter(Formatter):
    """Format strings that say the unit of an integer: `{x!y}` of µ¥, `{x!k}` of Wh and `{x!p}` of micro-points."""

    def convert_field(self, value: object, conversion: str | None) -> object:
        match conversion, value:
            case "y", int() if value < 0:
                return f"a debt of {format_yuan(-value)} yuan"
            case "y", int():
                return f"{format_yuan(value)} yuan"
            case "k", int():
                return f"{format_kwh(value)} kWh"
            case "p", int():
                return f"{format_scaled(value, 6)} points"
        return super().convert_field(value, conversion)
