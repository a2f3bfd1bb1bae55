"""Programmes as text."""

from __future__ import annotations

from gridmerit.tables import table
from gridmerit.text import format_yuan
from node.queries.answers import ProgrammesInfo


def render_programmes(found: ProgrammesInfo) -> str:
    if not found.programmes:
        return "no programmes: gridmerit programme open makes one"
    rows = [
        (
            item.name,
            item.funder_name or item.funder,
            ", ".join(f"{source} {format_yuan(rate)}" for source, rate in item.rates_uyuan_per_kwh.items()),
            f"{item.first_period}–{item.last_period}",
            format_yuan(item.budget_uyuan),
            format_yuan(item.paid_uyuan),
            format_yuan(item.left_uyuan),
            item.state,
        )
        for item in found.programmes
    ]
    heads = ["programme", "of", "yuan per green kWh", "periods", "budget", "paid", "left", ""]
    return table(heads, rows, left=(0, 1, 2, 3, 7))
