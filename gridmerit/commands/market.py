"""`gridmerit market`: the order book, trades and settlements; place and cancel orders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from gridmerit.amounts import parse_kwh, parse_price
from gridmerit.commands import Group, compare
from gridmerit.commands.hosted import connect_to, list_chains
from gridmerit.commands.market_tables import (
    render_book,
    render_quota,
    render_settlement,
    render_trades,
    render_weights,
)
from gridmerit.commands.open_periods import choose_open, find_last, list_open, wait_for_open
from gridmerit.commands.target import Target, key_options, node_options, resolve_key, run_async, to_plain
from gridmerit.commands.tx import show_outcome
from gridmerit.errors import (
    KindMissing,
)
from gridmerit.output import emit, json_option, note
from gridmerit.players.prices import remark_on_price
from ledger.hashing import Address, show_address
from market.orders import Side
from market.trading.contract import TradeIntention
from node.api.client import Client
from node.errors import (
    RemoteNotFound,
)
from node.queries.answers import BookInfo, MarketPeriods, QuotaInfo, SettlementInfo, TradesInfo, TransactionStatus

_PERIOD = click.IntRange(min=0)


@click.group("market", cls=Group)
def command() -> None:
    """The order book, trades and settlements; place and cancel orders.

    Energy is in kWh, prices in yuan per kWh. A period is named by its number: how many periods after genesis its
    delivery starts.
    """


command.add_command(compare.command)


@command.command("book")
@click.option("--period", type=_PERIOD, help="[default: the one whose gate closes next]")
@node_options
@json_option
def book(period: int | None, target: Target) -> None:
    """The live orders of a period, and which periods are open.

    `result` is what has become of a period's trades: see `gridmerit market trades --help`. Beside a scheduling chain a
    period takes orders once its quotas are out: `gridmerit market quota`.

    \b
    Example:
      gridmerit market book --node mynet
    """

    async def work() -> tuple[MarketPeriods, BookInfo]:
        async with connect_to(target, "trading") as client:
            periods = await client.periods()
            return periods, await client.book(choose_open(periods) if period is None else period)

    periods, found = run_async(work())
    emit({"periods": to_plain(periods), "book": to_plain(found)}, render_book(periods, found))


@command.command("place")
@click.argument("side", type=click.Choice(["bid", "offer"]))
@click.option("--price", required=True, metavar="YUAN", help="Limit, in yuan per kWh.")
@click.option("--volume", required=True, metavar="KWH", help="Energy, in kWh.")
@click.option("--period", type=_PERIOD, help="[default: the one whose gate closes next]")
@key_options
@node_options
@json_option
def place(
    side: str,
    price: str,
    volume: str,
    period: int | None,
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
    price_uyuan, volume_wh = parse_price(price), parse_kwh(volume)

    async def work() -> tuple[int, int | None, TransactionStatus]:
        async with connect_to(target, "trading") as client:
            member = await client.account(signer.address)
            genesis = await client.genesis()
            remark = remark_on_price(genesis, Side[side.upper()], member.position, price_uyuan)
            if remark is not None:
                note(f"warning: {remark}")
            chosen = await wait_for_open(client) if period is None else period
            intention = TradeIntention(
                side=Side[side.upper()],
                period=chosen,
                price_uyuan_per_kwh=price_uyuan,
                volume_wh=volume_wh,
            )
            identity = await client.send(signer, "intention", intention.to_payload())
            outcome = await client.wait_for(identity)
            book = await client.book(chosen)
            return chosen, _find_order(book, signer.address, intention), outcome

    chosen, order_id, outcome = run_async(work())
    show_outcome(outcome, period=chosen, order_id=order_id)


@command.command("cancel")
@click.argument("order_id", type=click.IntRange(min=0))
@click.option("--period", type=_PERIOD, required=True, help="The order's delivery period.")
@key_options
@node_options
@json_option
def cancel(order_id: int, period: int, key: str | None, passphrase_file: Path | None, target: Target) -> None:
    """Take your own order off the book before its gate, and wait for the block.

    \b
    Example:
      gridmerit market cancel 4 --period 118 --key homes-3 --node mynet
    """
    signer = resolve_key(target, key, passphrase_file)

    async def work() -> TransactionStatus:
        async with connect_to(target, "trading") as client:
            return await client.wait_for(await client.send(signer, "cancel", (period, order_id)))

    show_outcome(run_async(work()))


@command.command("quota")
@click.argument("period", type=_PERIOD, required=False)
@node_options
@json_option
def quota(period: int | None, target: Target) -> None:
    """What the members on each line may buy and sell in a period, as the scheduling chain has it.

    At the gate the orders on a line are trimmed to its quota. Buyers pay the wheeling price on top of a trade's price.
    Without PERIOD it is the first open one that has quotas. `gridmerit grid` shows the plan behind it.

    \b
    Example:
      gridmerit market quota 118 --node mynet
    """

    async def work() -> QuotaInfo:
        async with connect_to(target, "trading") as client:
            periods = list_open(await client.periods()) if period is None else [period]
            return await _find_quota(client, periods)

    found = run_async(work())
    emit(to_plain(found), render_quota(found))


@command.command("trades")
@click.option("--period", type=_PERIOD, help="[default: the last one whose gate closed]")
@click.option("--weights", is_flag=True, help="Show the matching weights and their parts; JSON has them anyway.")
@node_options
@json_option
def trades(period: int | None, weights: bool, target: Target) -> None:
    """What a period's gate closure matched, and what the grid accepts of it.

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

    async def work() -> TradesInfo:
        async with connect_to(target, "trading") as client:
            return await (client.trades(period) if period is not None else find_last(client, "trades"))

    found = run_async(work())
    emit(to_plain(found), render_trades(found) + (f"\n\n{render_weights(found)}" if weights else ""))


@command.command("settlement")
@click.option("--period", type=_PERIOD, help="[default: the last one that is settled]")
@node_options
@json_option
def settlement(period: int | None, target: Target) -> None:
    """Who paid whom for a delivered period.

    \b
    Example:
      gridmerit market settlement --period 112 --node mynet
    """

    async def work() -> SettlementInfo:
        async with connect_to(target, "trading") as client:
            return await (client.settlement(period) if period is not None else find_last(client, "settlement"))

    found = run_async(work())
    emit(to_plain(found), render_settlement(found))


async def _find_quota(client: Client, periods: Sequence[int]) -> QuotaInfo:
    """The quotas of the first of these periods that has some. Raises `RemoteNotFound` or `KindMissing`."""
    for period in periods:
        try:
            return await client.quota(period)
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
