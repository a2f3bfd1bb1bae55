"""The treasury as text: all the money there is, banks, standing orders, and whose money does not last."""

from __future__ import annotations

from gridmerit.tables import facts, table
from gridmerit.text import format_count, format_yuan
from node.queries.answers import LowAccount, RunwayInfo, TreasuryInfo


def render_treasury(found: TreasuryInfo) -> str:
    parts = [
        facts(
            [
                ("in all accounts", f"{format_yuan(found.money_uyuan)} yuan at height {found.height}"),
                ("of the genesis", f"{format_yuan(found.founding_uyuan)} yuan"),
                ("deposited", f"{format_yuan(found.deposited_uyuan)} yuan"),
                ("withdrawn", f"{format_yuan(found.withdrawn_uyuan)} yuan"),
                ("credit line", f"{format_yuan(found.credit_line_uyuan)} yuan"),
            ]
        )
    ]
    if found.banks:
        rows = [
            (
                bank.bank_name,
                format_yuan(bank.balance_uyuan),
                "–" if bank.statement is None else f"{bank.statement}/{bank.line}",
                format_yuan(bank.deposited_uyuan),
                format_yuan(bank.withdrawn_uyuan),
            )
            for bank in found.banks
        ]
        parts.append(table(["bank", "its own", "last payment", "deposited", "withdrawn"], rows, left=(0, 2)))
    else:
        parts.append("no bank: the authority admits one by gridmerit member admit")
    if found.orders:
        orders = [
            (
                order.member_name or order.member,
                order.bank_name or order.bank,
                format_yuan(order.limit_uyuan),
                order.every_periods,
                order.due_period,
            )
            for order in found.orders
        ]
        parts.append(table(["standing order of", "bank", "up to", "every", "next in period"], orders, left=(0, 1)))
    parts += [f"{account.member_name}: {describe_low(account)}" for account in found.low]
    return "\n\n".join(parts)


def describe_low(account: LowAccount) -> str:
    """The state of an account whose money does not last, in words."""
    left = f"{format_yuan(account.left_uyuan)} yuan left"
    if account.is_under:
        text = f"below its credit line, it places no bids ({left})"
    else:
        text = f"{left}, for {format_count(account.lasts_periods or 0, 'period')} like the last ones"
    return text if account.due_period is None else f"{text}; topped up in period {account.due_period}"


def describe_runway(found: RunwayInfo) -> str:
    """The time that a member's money lasts, in words."""
    left = f"{format_yuan(found.left_uyuan)} yuan"
    if found.credit_line_uyuan:
        left += f", the credit line of {format_yuan(found.credit_line_uyuan)} yuan included"
    if found.is_under:
        return f"{left}: below the credit line, no bids until money comes in"
    if not found.periods:
        return f"{left}; no period is settled yet"
    if found.lasts_periods is None:
        return f"{left}; the last {format_count(found.periods, 'period')} have cost nothing"
    lasting = f"for {format_count(found.lasts_periods, 'period')} like the last {found.periods}"
    return f"{left}, {lasting}{': LOW' if found.is_low else ''}"
