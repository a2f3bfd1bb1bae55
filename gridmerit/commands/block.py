"""`gridmerit block`: look at blocks."""

from __future__ import annotations

import click

from gridmerit.commands import Group
from gridmerit.commands.hosted import connect_to_any
from gridmerit.commands.target import Target, node_options, run_async, to_plain
from gridmerit.output import emit, json_option
from gridmerit.tables import facts, table
from gridmerit.text import format_points, format_time
from node.queries.answers import BlockDetail


@click.group("block", cls=Group)
def command() -> None:
    """Look at blocks."""


@command.command("show")
@click.argument("ref", default="head")
@node_options
@json_option
def show(ref: str, target: Target) -> None:
    """A block by height, by hash, or the head.

    \b
    Example:
      gridmerit block show 12 --node mynet
    """

    block = run_async(fetch_block(target, ref))
    emit(to_plain(block), _render(block))


async def fetch_block(target: Target, ref: str) -> BlockDetail:
    """A block of the chain that is named, else of the trading chain or the only one."""
    async with connect_to_any(target, "trading") as client:
        return await client.block(ref)


def _render(block: BlockDetail) -> str:
    where = "final" if block.final else f"depth {block.depth}" if block.depth else "not on the current branch"
    parts = [
        facts(
            [
                ("height", f"{block.height} ({where})"),
                ("hash", block.hash),
                ("parent", block.parent),
                ("time", f"{format_time(block.timestamp_ms)} UTC, period {block.period}"),
                ("producer", f"{block.producer_name or '–'}  {block.producer}"),
                ("credit", f"{format_points(block.credit_upt)} points"),
                ("N_diff", f"2^{block.n_diff.bit_length() - 1} or more ({block.n_diff:#x})"),
                ("nonce", f"{block.nonce:#x}"),
                ("state root", block.state_root),
                ("tx root", block.tx_root),
                ("receipt root", block.receipt_root),
            ]
        )
    ]
    if block.transactions:
        rows = [
            (tx.kind, tx.sender_name or tx.sender, tx.sequence, tx.code or "ok", tx.id) for tx in block.transactions
        ]
        parts.append(table(["transaction", "sender", "sequence", "outcome", "id"], rows, left=(0, 1, 3, 4)))
    else:
        parts.append("no transactions")
    return "\n\n".join(parts)
