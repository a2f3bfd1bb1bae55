"""The outcome of a transaction, shown; one that its block holds without effect is an error."""

from __future__ import annotations

from collections.abc import Mapping

from gridmerit.commands.target import to_plain
from gridmerit.output import emit
from gridmerit.tables import facts
from node.errors import RemoteRejected
from node.queries.answers import TransactionStatus


def check_effect(status: TransactionStatus) -> None:
    """Raises `RemoteRejected` where the transaction's block says that it has no effect."""
    if status.code:
        detail = f"transaction {status.id} stands in block {status.height} without effect: {status.code}"
        raise RemoteRejected(code=status.code, detail=detail, values={"id": status.id, "height": status.height})


def show_outcome(outcome: TransactionStatus | str, **more: object) -> None:
    """Print what became of a transaction (or its id alone), and `more` about it. Raises as `check_effect`."""
    if isinstance(outcome, str):
        emit({**more, "id": outcome, "status": "submitted"}, outcome)
        return
    check_effect(outcome)
    emit({**more, **to_plain(outcome)}, render_transaction(outcome, more))


def render_transaction(status: TransactionStatus, more: Mapping[str, object] | None = None) -> str:
    lines: list[tuple[str, object]] = [
        (name.replace("_", " "), "–" if value is None else value) for name, value in (more or {}).items()
    ]
    lines += [("transaction", status.id), ("status", status.status)]
    if status.ending is not None:
        lines.append(("why", status.ending))
    if status.height is not None:
        lines += [
            ("block", f"{status.height}  {status.block}"),
            ("index in block", status.index),
            ("outcome", f"without effect: {status.code}" if status.code else "took effect"),
            ("depth", f"{status.depth}{', final' if status.final else ''}"),
        ]
    return facts(lines)
