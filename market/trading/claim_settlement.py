"""The claims on a period at its end: served by its meters before all else is settled, or cancelled; then forgotten.

A claim's holder pays the wheeling charge for what it receives, as for what it buys on the book, and the producer pays
it the penalty for what is short. Of a period in which not a meter was read claims are cancelled, as trades lapse. What
was served stays served: a correction settles with trades and the grid company.

What subscribers hear:

    claim-served       period, series, producer, holder, redeemed, short, cancelled, penalty, wheeling
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ledger.contract import BlockContext
from ledger.overlay import Overlay
from market.assets.lots import drop_holders, get_holders, strip
from market.assets.series import Series, get_head, get_series, spend
from market.claim_records import (
    CLAIM,
    Served,
    drop_last_claim,
    last_claim_key,
    put_served,
    walk_claims,
)
from market.claims import Claim, cancel_claim, serve_claim
from market.metering import get_energy, is_heard
from market.trading.backlog import Backlog
from market.trading.quotas import get_wheeling
from market.trading.sessions import get_gate_number
from market.trading.settlement_accounts import Accounts
from market.trading.work import SETTLEMENT, get_room
from market.trading.work import spend as spend_work

_SERVING = b"claim/serving/"
_FORGOTTEN = b"claim/forgotten"
FORGOTTEN_CLAIMS = Backlog(_FORGOTTEN, drop_last_claim)


def serve_period(view: Overlay, block: BlockContext, period: int, accounts: Accounts) -> tuple[bool, list[Served]]:
    """Serve the claims on a period by its readings, or go on with it: whether all are, and the rows of this share."""
    if not block.params.market.economy:
        return True, []
    value = view.get(_serving_key(period))
    number = get_head(view, last_claim_key(period)) if value is None else cast(int, value)
    if not number:
        return True, []
    served: list[Served] = []
    while number and get_room(view, block, cost=SETTLEMENT) != 0:
        number, rows = _serve(view, block, period, number, accounts)
        served += rows
    view.put(_serving_key(period), number)
    return not number, served


def cancel_period(view: Overlay, block: BlockContext, period: int) -> None:
    """Cancel the claims on a period that is not metered; nothing where it has none."""
    for number, series in list(walk_claims(view, period)):
        _end(view, block, period, number, cancel_claim(_read(view, number, series)))


def _serve(
    view: Overlay, block: BlockContext, period: int, number: int, accounts: Accounts
) -> tuple[int, list[Served]]:
    """Serve one claim; the number of the one before it, and its rows."""
    series = get_series(view, number)
    assert series is not None, number
    claim = _read(view, number, series)
    rows = _compute_rows(view, block, period, claim) if is_heard(view, period) else cancel_claim(claim)
    for row in rows:
        accounts.move_claim(row)
    spend_work(view, block, len(rows), cost=SETTLEMENT)
    _end(view, block, period, number, rows)
    return series.previous, rows


def _compute_rows(view: Overlay, block: BlockContext, period: int, claim: Claim) -> list[Served]:
    _, output_wh = get_energy(view, period, claim.producer) or (0, 0)
    gate = get_gate_number(block.params.market, period)
    wheeling = get_wheeling(view, block, gate, [holder for holder, _ in claim.holders])
    return serve_claim(output_wh, claim, block.params.market.claim_penalty_uyuan_per_kwh, wheeling)


def _read(view: Overlay, number: int, series: Series) -> Claim:
    return Claim(number, series.issuer, get_holders(view, number))


def _end(view: Overlay, block: BlockContext, period: int, number: int, rows: Sequence[Served]) -> None:
    """Have a claim be over: nobody holds it any more, and its rows stay as long as its period's."""
    for row in rows:
        strip(view, CLAIM, row.holder, number, block.period)
        view.emit("claim-served", period, *row)
    spend(view, number, sum(row.held_wh for row in rows))
    drop_holders(view, number)
    put_served(view, period, number, rows)


# --- forgetting ----------------------------------------------------------------------------------


def forget_claims(view: Overlay, period: int) -> None:
    """Have the claims on a period that is no longer kept dropped by the blocks to come."""
    view.delete(_serving_key(period))
    if get_head(view, last_claim_key(period)):
        FORGOTTEN_CLAIMS.add(view, period)


def _serving_key(period: int) -> bytes:
    return _SERVING + period.to_bytes(8, "big")
