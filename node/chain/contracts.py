"""The contracts that a chain runs, by its kind: ledger, market and consensus put together."""

from __future__ import annotations

from typing import assert_never, get_args

from consensus.contracts import consensus_handlers
from consensus.relays import RELAY, relay_handler
from ledger.contract import Contracts, Handler, Hook, NextDue
from ledger.execution import ledger_handlers
from ledger.genesis import Genesis
from ledger.inbox import Routes
from ledger.membership import membership_handlers, membership_hooks
from ledger.params import ChainParams, Kind
from ledger.sealers import SEALERS, receive_sealers
from ledger.upgrades import upgrade_handlers
from market.credit.contract import credit_further_hooks, credit_handlers, credit_hooks, credit_next_due, credit_routes
from market.economy import economy_handlers, economy_hooks, economy_next_due
from market.scheduling.contract import (
    scheduling_further_hooks,
    scheduling_handlers,
    scheduling_hooks,
    scheduling_next_due,
    scheduling_routes,
)
from market.trading.contract import (
    market_further_hooks,
    market_handlers,
    market_hooks,
    market_next_due,
    market_routes,
)
from market.trading.work import take_share


def build_contracts(genesis: Genesis) -> Contracts:
    """Every contract of a chain."""
    siblings = frozenset(sibling.kind for sibling in genesis.siblings)
    handlers, hooks, further_hooks, next_due = _parts_of(genesis.params, siblings)
    producer_handlers = consensus_handlers()
    if genesis.siblings:
        producer_handlers[RELAY] = relay_handler(routes_of(genesis.params.kind))
    return Contracts(
        handlers={**handlers, **membership_handlers(), **upgrade_handlers()},
        producer_handlers=producer_handlers,
        hooks=hooks,
        early_hooks=membership_hooks(),
        next_due=next_due,
        further_hooks=further_hooks,
        take_share=take_share,
    )


def routes_of(kind: Kind) -> Routes:
    """The messages that a chain of this kind takes in; every other chain names those that certify for it."""
    sealers = {(other, SEALERS): receive_sealers for other in get_args(Kind) if other != kind}
    return {**sealers, **_market_routes_of(kind)}


def _market_routes_of(kind: Kind) -> Routes:
    match kind:
        case "trading":
            return market_routes()
        case "scheduling":
            return scheduling_routes()
        case "credit":
            return credit_routes()
    assert_never(kind)


def _parts_of(
    params: ChainParams, siblings: frozenset[str]
) -> tuple[dict[str, Handler], tuple[Hook, ...], tuple[Hook, ...], tuple[NextDue, ...]]:
    match params.kind:
        case "trading":
            market = params.market
            handlers = {**market_handlers(siblings, market.clearing_rule), **economy_handlers(market)}
            hooks = (*market_hooks(), *economy_hooks(market))
            next_due = (*market_next_due(), *economy_next_due(market))
            return {**ledger_handlers(), **handlers}, hooks, market_further_hooks(), next_due
        case "scheduling":
            return scheduling_handlers(), scheduling_hooks(), scheduling_further_hooks(), scheduling_next_due()
        case "credit":
            return credit_handlers(), credit_hooks(), credit_further_hooks(), credit_next_due()
    assert_never(params.kind)
