"""Acts of the authority as text and as JSON: what they say, who has signed them, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridmerit.commands.acts import Brought, Outcome
from gridmerit.network.enrolment import Act, describe_act
from gridmerit.tables import facts, table
from gridmerit.text import format_time, quote_path

_LAST_MS = 253_402_300_799_000  # the year 9999


def format_end(time_ms: int | None) -> str:
    """The end of a validity, UTC."""
    return "no end" if time_ms is None or time_ms > _LAST_MS else f"{format_time(time_ms)} UTC"


def describe_signed(act: Act) -> dict[str, Any]:
    """An act for --json."""
    signers = ["0x" + key.hex() for key, _signature in act.signatures]
    return {"network": act.network.hex(), "act": describe_act(act), "signers": signers}


def render_act(act: Act) -> str:
    lines: list[tuple[str, object]] = [("network", act.network.hex())]
    for name, value in describe_act(act).items():
        if isinstance(value, int) and name.endswith("_ms"):
            lines.append((name.removesuffix("_ms").replace("_", " "), format_end(value)))
        else:
            shown = ", ".join(value) if isinstance(value, list) else value
            lines.append((name.replace("_", " "), "–" if shown == "" else shown))
    signers = [key.hex()[:16] for key, _signature in act.signatures]
    lines.append(("signed by", ", ".join(signers) or "nobody yet"))
    return facts(lines)


# --- what became of them -------------------------------------------------------------------------


def describe_brought(brought: Brought) -> dict[str, Any]:
    """For --json: whether they are done, and on which chains."""
    if brought.outcomes is None:
        have = len(brought.act.signatures)
        return {"status": "unsigned", "signatures": have, "threshold": brought.threshold}
    return {"status": "done", "chains": describe_outcomes(brought.outcomes), "missing": list(brought.missing)}


def describe_kept(name: str, brought: Brought) -> dict[str, Any]:
    """The same with the files that the acts are kept in."""
    return {"name": name, "acts": [str(file) for file in brought.files], **describe_brought(brought)}


def render_brought(brought: Brought) -> str:
    if brought.outcomes is None:
        return render_unsigned(brought)
    return render_outcomes(brought.outcomes, brought.missing)


def render_unsigned(brought: Brought, certificate: Path | None = None) -> str:
    """The text where more keys must sign."""
    have, file = len(brought.act.signatures), brought.files[0]
    lines = [
        f"{have} of {brought.threshold} signatures: nothing has been sent yet",
        f"next: gridmerit authority sign {quote_path(file)} --key FILE, by {brought.threshold - have} more; then",
        f"      gridmerit authority submit {quote_path(file)} --node DIR",
    ]
    if certificate is not None:
        lines.append(f"the certificate to hand over then: {certificate}")
    return "\n".join(lines)


def render_outcomes(outcomes: Sequence[Outcome], missing: Sequence[str]) -> str:
    rows = [(item.chain, item.status, "–" if item.height is None else item.height) for item in outcomes]
    lines = [table(["chain", "act", "block"], rows, left=(0, 1))]
    if missing:
        lines.append(f"not sent to {', '.join(missing)}: not hosted here, out (gridmerit status), or not the --chain")
    return "\n".join(lines)


def describe_outcomes(outcomes: Sequence[Outcome]) -> dict[str, dict[str, object]]:
    return {item.chain: {"status": item.status, "height": item.height, "id": item.id} for item in outcomes}
