"""A bill and its parts as text."""

from __future__ import annotations

from gridmerit.tables import facts
from gridmerit.text import format_kwh, format_yuan
from node.queries.answers import BillInfo


def render_bill_parts(found: BillInfo) -> str:
    parts = [(name, f"{format_yuan(part)} yuan") for name, part in found.parts_uyuan.items()]
    paid = f"{format_yuan(found.paid_uyuan)} yuan for {format_kwh(found.energy_wh)} kWh of period {found.period}"
    return facts([(found.member_name or found.member, f"paid {paid}"), *parts])
