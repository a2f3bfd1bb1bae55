"""`gridmerit market`: the order book, trades and settlements; place and cancel orders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from gridmerit.amounts import parse_kwh, parse_price
from gridmerit.commands import Group, compare
from gridmerit.commands.hosted import connect_to, list_chains
from gridmerit.commands.market_tables import (
    render_book,
    render_positions,
    render_quota,
    render_settlement,
    render_trades,
    render_weights,
)
from gridmerit.commands.open_periods import (
    Traded,
    choose_open,
    find_last_settlement,
    find_last_trades,
    find_session,
    list_open,
    session_option,
    wait_for_open,
)
from gridmerit.commands.outcomes import show_outcome
from gridmerit.commands.target import Target, key_options, node_options, resolve_key, run_async, to_plain
from gridmerit.errors import KindMissing
from gridmerit.output import emit, json_option, note
from gridmerit.players.prices import remark_on_price
from ledger.hashing import Address, show_address
from ledger.signatures import SigningKey
from market.orders import Side
from market.trading.contract import TradeIntention
from market.trading.sessions import get_gate_number
from node.api.client import Client
from node.errors import RemoteNotFound
from node.queries.answers import (
    BookInfo,
    MarketPeriods,
    PositionsInfo,
    QuotaInfo,
    SettlementInfo,
    TradesInfo,
    TransactionStatus,
)

_PERIOD = click.IntRange(min=0)


@click.group("market", cls=Group)
def command() -> None:
    """The order book, trades and settlements; place and cancel orders.

    Energy is in kWh, prices in yuan per kWh. A period is named by its number: how many periods after genesis its
    delivery starts. Where periods are traded twice, --session says in which session.
    """


command.add_command(compare.command)


@command.command("book")
@click.option("--period", type=_PERIOD, help="[default: the one whose gate closes next]")
@session_option
@node_options
@json_option
def book(period: int | None, session: str | None, target: Target) -> None:
    """The live orders of a period, and which periods are open.

    `result` is what has become of a period's trades: see `gridmerit market trades --help`. Beside a scheduling chain a
    period takes orders once its quotas are out: `gridmerit market quota`.

    \b
    Example:
      gridmerit market book --node mynet
    """

    periods, found = run_async(fetch_book(target, period, session))
    emit({"periods": to_plain(periods), "book": to_plain(found)}, render_book(periods, found))


@command.command("place")
@click.argument("side", type=click.Choice(["bid", "offer"]))
@click.option("--price", required=True, metavar="YUAN", help="Limit, in yuan per kWh.")
@click.option("--volume", required=True, metavar="KWH", help="Energy, in kWh.")
@click.option("--period", type=_PERIOD, help="[default: the one whose gate closes next]")
@session_option
@key_options
@node_options
@json_option
def place(
    side: str,
    price: str,
    volume: str,
    period: int | None,
    session: str | None,
    key: str | None,
    passphrase_file: Path | None,
    target: Target,
) -> None:
    """Place a limit order (a TradeIntention) and wait for its block.

    A bid sets its cost aside, wheeling included; what is not used becomes free again at the gate. Without --period, a
    gate nearer than two block intervals is left out, and the next period's opening awaited. A price at which the grid
    company would do better is taken with a warning.

    Once the period is over, and for half a period then, the meters of both sides must report what was delivered
    (`gridmerit tx send reading PERIOD CONSUMED_KWH MADE_KWH --key meter-NAME`), else a buyer pays retail for what it
    agreed to, a seller gets nothing, and the credit of either falls. `gridmerit market settlement` and `gridmerit
    credit show` tell what became of it.

    \b
    Example:
      gridmerit market place bid --price 0.52 --volume 12.5 --key homes-3 --node mynet
    """
    signer = resolve_key(target, key, passphrase_file)
    terms = OrderTerms(Side[side.upper()], parse_price(price), parse_kwh(volume, least=1))
    placed = run_async(place_order(target, signer, terms, period, session))
    named = {"period": placed.period, **({"session": placed.session} if placed.session else {})}
    show_outcome(placed.outcome, **named, order_id=placed.order_id)


@command.command("cancel")
@click.argument("order_id", type=click.IntRange(min=0))
@click.option("--period", type=_PERIOD, required=True, help="The order's delivery period.")
@session_option
@key_options
@node_options
@json_option
def cancel(
    order_id: int, period: int, session: str | None, key: str | None, passphrase_file: Path | None, target: Target
) -> None:
    """Take your own order off the book before its gate, and wait for the block.

    \b
    Example:
      gridmerit market cancel 4 --period 118 --key homes-3 --node mynet
    """
    signer = resolve_key(target, key, passphrase_file)
    show_outcome(run_async(cancel_order(target, signer, period, order_id, session)))


@command.command("quota")
@click.argument("period", type=_PERIOD, required=False)
@session_option
@node_options
@json_option
def quota(period: int | None, session: str | None, target: Target) -> None:
    """Show what the members on each line may buy and sell in a period, as the scheduling chain has it.

    At the gate the orders on a line are trimmed to its quota. Buyers pay the wheeling price on top of a trade's price.
    Without PERIOD it is the first open one that has quotas. `gridmerit grid` shows the plan behind it.

    \b
    Example:
      gridmerit market quota 118 --node mynet
    """

    found = run_async(fetch_quota(target, period, session))
    emit(to_plain(found), render_quota(found))


@command.command("trades")
@click.option("--period", type=_PERIOD, help="[default: the last one whose gate closed]")
@session_option
@click.option("--weights", is_flag=True, help="Show the matching weights and their parts; JSON has them anyway.")
@node_options
@json_option
def trades(period: int | None, session: str | None, weights: bool, target: Target) -> None:
    """Show what a period's gate closure matched, and what the grid accepts of it.

    The word after the count says what has become of the trades:

    \b
      open       the gate is closed, its block is not certified yet
      certified  a quorum has certified it: on a chain alone, trades bind
      accepted   the scheduling chain has given its verdict: trades bind as far as
                 it accepts them
      void       no certificate, verdict or countersignature came in time: nothing
                 binds, reserves have returned
      settled    the delivery was metered and paid
      lapsed     accepted but never metered: nobody pays or is scored, reserves
                 have returned

    Of void and lapsed ones it says why, and what to do.

    A curtailed trade has a volume under `accepted kWh`, and the line that could not carry more.

    The second line says which members have signed this result. One that has signed another is named and not counted;
    the node compares with what it has computed from its own book, as anybody can.

    --weights shows the weight of each match (w, the offer's), the bid's, and what each of the seven parameters added.
    On a chain that clears by merit they made the match, on others they are told and decide nothing.

    \b
    Examples:
      gridmerit market trades --node mynet
      gridmerit market trades --weights --node mynet
    """

    found = run_async(fetch_trades(target, period, session))
    emit(to_plain(found), render_trades(found) + (f"\n\n{render_weights(found)}" if weights else ""))


@command.command("settlement")
@click.option("--period", type=_PERIOD, help="[default: the last one that is settled]")
@node_options
@json_option
def settlement(period: int | None, target: Target) -> None:
    """Show who paid whom for a delivered period.

    \b
    Example:
      gridmerit market settlement --period 112 --node mynet
    """

    found = run_async(fetch_settlement(target, period))
    emit(to_plain(found), render_settlement(found))


@command.command("positions")
@click.argument("period", type=_PERIOD)
@node_options
@json_option
def positions(period: int, target: Target) -> None:
    """Show what each member has bought and sold of a period that is traded twice, and what its meter says beyond.

    Each session's trades are paid as agreed, wheeling included. A member's bought energy less what it has sold, in all
    sessions and in real time, is what its meter shows. What is bought in real time is the grid company's at retail,
    what is sold goes to it at feed-in.

    \b
    Example:
      gridmerit market positions 112 --node mynet
    """

    found = run_async(fetch_positions(target, period))
    emit(to_plain(found), render_positions(found))


# --- what the commands do ------------------------------------------------------------------------


async def fetch_book(
    target: Target, period: int | None = None, session: str | None = None
) -> tuple[MarketPeriods, BookInfo]:
    """The periods, and the book of one: by default of that whose gate closes next. Raises `NoPeriod`."""
    async with connect_to(target, "trading") as client:
        periods = await client.periods()
        if period is None:
            return periods, await client.book(*choose_open(periods, session))
        return periods, await client.book(period, await find_session(client, session))


async def fetch_positions(target: Target, period: int) -> PositionsInfo:
    async with connect_to(target, "trading") as client:
        return await client.positions(period)


class OrderTerms(NamedTuple):
    """A limit order but for its period; µ¥ per kWh and Wh."""

    side: Side
    price_uyuan_per_kwh: int
    volume_wh: int


class Placed(NamedTuple):
    """An order that a block holds: `order_id` is what `cancel` knows it by, None where it has left the book.

    `session` is empty where each period is traded once.
    """

    period: int
    session: str
    order_id: int | None
    outcome: TransactionStatus


async def place_order(
    target: Target, signer: SigningKey, terms: OrderTerms, period: int | None = None, session: str | None = None
) -> Placed:
    """Send a TradeIntention, by default for the first period that takes it, and wait for its block."""
    async with connect_to(target, "trading") as client:
        member = await client.account(signer.address)
        genesis = await client.genesis()
        remark = remark_on_price(genesis, terms.side, member.position, terms.price_uyuan_per_kwh)
        if remark is not None:
            note(f"warning: {remark}")
        if period is None:
            chosen = await wait_for_open(client, session)
        else:
            chosen = Traded(period, await find_session(client, session))
        intention = TradeIntention(
            side=terms.side,
            gate=get_gate_number(genesis.params.market, *chosen),
            price_uyuan_per_kwh=terms.price_uyuan_per_kwh,
            volume_wh=terms.volume_wh,
        )
        identity = await client.send(signer, "intention", intention.to_payload())
        outcome = await client.wait_for(identity)
        book = await client.book(*chosen)
        session = book.session if genesis.params.market.sessions > 1 else ""
        return Placed(book.period, session, _find_order(book, signer.address, intention), outcome)


async def cancel_order(
    target: Target, signer: SigningKey, period: int, order_id: int, session: str | None = None
) -> TransactionStatus:
    """Take the signer's order off the book, and wait for the block."""
    async with connect_to(target, "trading") as client:
        market, chosen = (await client.genesis()).params.market, await find_session(client, session)
        gate = get_gate_number(market, period, chosen)
        return await client.wait_for(await client.send(signer, "cancel", (gate, order_id)))


async def fetch_quota(target: Target, period: int | None = None, session: str | None = None) -> QuotaInfo:
    """The quotas of a period, by default of the first open one that has some. Raises as `_find_quota`."""
    async with connect_to(target, "trading") as client:
        if period is None:
            return await _find_quota(client, list_open(await client.periods(), session))
        return await _find_quota(client, [Traded(period, await find_session(client, session))])


async def fetch_trades(target: Target, period: int | None = None, session: str | None = None) -> TradesInfo:
    """The trades of a period, by default of the last one whose gate closed. Raises `NoPeriod`."""
    async with connect_to(target, "trading") as client:
        if period is None:
            return await find_last_trades(client, session)
        return await client.trades(period, await find_session(client, session))


async def fetch_settlement(target: Target, period: int | None = None) -> SettlementInfo:
    """The settlement of a period, by default of the last one that is settled. Raises `NoPeriod`."""
    async with connect_to(target, "trading") as client:
        return await (client.settlement(period) if period is not None else find_last_settlement(client))


async def _find_quota(client: Client, gates: Sequence[Traded]) -> QuotaInfo:
    """The quotas of the first of these gates that has some. Raises `RemoteNotFound` or `KindMissing`."""
    for gate in gates:
        try:
            return await client.quota(*gate)
        except RemoteNotFound as error:
            last = error
    chains = {chain.name: chain.kind for chain in (await client.genesis()).chains}
    if "scheduling" not in chains.values():
        raise KindMissing(kind="scheduling", hosted=list_chains(chains))
    raise last


def _find_order(book: BookInfo, owner: Address, intention: TradeIntention) -> int | None:
    """The number by which `cancel` knows an order that was just placed; None where it has left the book."""
    side = book.bids if intention.side.name == "BID" else book.offers
    wanted = (show_address(owner), intention.price_uyuan_per_kwh, intention.volume_wh)
    found = [order.order_id for order in side if (order.owner, order.price_uyuan_per_kwh, order.volume_wh) == wanted]
    return max(found, default=None)
