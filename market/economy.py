"""The money of texts 003 and 004, put together: what a trading chain runs besides where its `economy` is 1.

Each part is one entry of `PARTS`: its kinds of transactions, its hooks at the start of every block and the times at
which these have something to do. Hooks run after the market's, in the order of the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ledger.contract import Handler, Hook, NextDue
from ledger.params import MarketParams
from market.assets.contract import Policy, asset_handlers, asset_hook
from market.bill_records import FORGOTTEN_BILLS
from market.claim_records import CLAIM
from market.claims import CLAIM_POLICY
from market.pool_payments import find_pools_due, run_pools
from market.pool_records import NOTE
from market.pools import NOTE_POLICY, pool_handlers
from market.pots import pot_handlers
from market.programmes import end_programmes, programme_handlers
from market.standing_orders import find_standing_orders_due, run_standing_orders, standing_order_handlers
from market.trading.claim_settlement import FORGOTTEN_CLAIMS
from market.treasury import treasury_handlers
from market.vouchers import VOUCHER, VOUCHER_POLICY, reward_producer


class Part(NamedTuple):
    """One contract of the economy."""

    handlers: Mapping[str, Handler]
    hooks: tuple[Hook, ...] = ()
    next_due: tuple[NextDue, ...] = ()


POLICIES: Mapping[str, Policy] = {
    CLAIM: CLAIM_POLICY,
    VOUCHER: VOUCHER_POLICY,
    NOTE: NOTE_POLICY,
}  # of the asset ledger, by class

PARTS: tuple[Part, ...] = (
    Part(treasury_handlers()),
    Part(standing_order_handlers(), hooks=(run_standing_orders,), next_due=(find_standing_orders_due,)),
    Part(asset_handlers(POLICIES), hooks=(asset_hook(POLICIES),)),
    Part({}, hooks=(FORGOTTEN_CLAIMS.work_off,), next_due=(FORGOTTEN_CLAIMS.find_due,)),
    Part(pot_handlers(), hooks=(reward_producer,)),
    Part(programme_handlers(), hooks=(end_programmes,)),
    Part({}, hooks=(FORGOTTEN_BILLS.work_off,), next_due=(FORGOTTEN_BILLS.find_due,)),
    Part(pool_handlers(), hooks=(run_pools,), next_due=(find_pools_due,)),
)


def list_parts(params: MarketParams) -> tuple[Part, ...]:
    """The parts that a chain with these parameters has: all of them, or none."""
    return PARTS if params.economy else ()


def economy_handlers(params: MarketParams) -> dict[str, Handler]:
    """The economy's transaction kinds."""
    return {kind: handler for part in list_parts(params) for kind, handler in part.handlers.items()}


def economy_hooks(params: MarketParams) -> tuple[Hook, ...]:
    """The hooks of the economy at the start of every block."""
    return tuple(hook for part in list_parts(params) for hook in part.hooks)


def economy_next_due(params: MarketParams) -> tuple[NextDue, ...]:
    """The times at which the economy's hooks have something to do."""
    return tuple(next_due for part in list_parts(params) for next_due in part.next_due)
