"""`gridmerit market compare`: the same orders under every clearing rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from gridmerit.amounts import parse_price
from gridmerit.commands.compare_tables import render_comparison
from gridmerit.commands.hosted import connect_to
from gridmerit.commands.open_periods import Traded, choose_open
from gridmerit.commands.target import Target, node_options, run_async
from gridmerit.network.parameters import get_packaged_params, load_chain_params, load_packaged_profile
from gridmerit.output import emit, json_option
from gridmerit.players.sample_book import (
    SampleBook,
    compare_book,
    convert_book,
    make_document,
    plan_sample_book,
    read_order_file,
)
from ledger.params import MarketParams


@click.command("compare")
@click.option("--period", type=click.IntRange(min=0), help="A node's book.  [default: the one whose gate closes next]")
@click.option("--file", "file", type=click.Path(path_type=Path), metavar="CSV", help="Orders of your own; no node.")
@click.option("--profile-hour", type=click.IntRange(0, 23), help="An hour of the packaged day; no node.")
@click.option("--seed", type=click.IntRange(min=0), help="Draws the prices of --profile-hour.  [default: 1]")
@click.option(
    "--chain-params",
    type=click.Path(path_type=Path),
    metavar="TOML",
    help="Tariffs, k and weights without a node.  [default: recommended]",
)
@click.option("--target", "towards", metavar="YUAN", help="The price that knn looks for.  [default: the period's]")
@click.option("--ties", type=click.Choice(["time", "pro-rata"]), help="Between equal orders.  [default: the chain's]")
@node_options
@json_option
def command(
    period: int | None,
    file: Path | None,
    profile_hour: int | None,
    seed: int | None,
    chain_params: Path | None,
    towards: str | None,
    ties: Literal["time", "pro-rata"] | None,
    target: Target,
) -> None:
    """Clear the same orders by every rule, and show who would trade at what price.

    Nothing is sent or changed. The orders are a node's open book, an hour of the packaged day with the prices that the
    demo's agents draw, or a CSV file:

    \b
      owner,side,price_yuan_per_kwh,volume_kwh,credit_points,renewable_share
      pv-101,offer,0.43,200,97.5,1
      homes-3,bid,0.56,99.66,90,0

    The first four columns are needed. credit_points, capacity_kwh, renewable_share, position and stability_share may be
    left out: they count for the credit-weighted rule alone, by the weights of the chain (Table 1 of the paper).

    Where there is not enough for equal orders, the earlier one is served first (time), or all are in proportion to
    their volumes (pro-rata).

    knn serves bids with the offers nearest to a target, the price that a dispatcher has committed for the period, or
    --target; without one it is price-time. Near is not cheap: it trades more for less welfare.

    Welfare is what buyers would have paid at most, less what sellers would have asked at least, over all that trades.

    \b
    Examples:
      gridmerit market compare --profile-hour 20 --target 0.52
      gridmerit market compare --file orders.csv --ties time
      gridmerit market compare --node mynet
    """
    named = [
        name
        for name, value in (("--period", period), ("--file", file), ("--profile-hour", profile_hour))
        if value is not None
    ]
    if len(named) > 1:
        raise click.UsageError(f"{' and '.join(named)} name different orders: choose one")
    if seed is not None and profile_hour is None:
        raise click.UsageError("--seed draws the prices of --profile-hour, which is missing")
    if chain_params is not None and file is None and profile_hour is None:
        raise click.UsageError("--chain-params goes with --file or --profile-hour: a node's chain has its own")
    book = _choose_book(period, file, profile_hour, seed, chain_params, target)
    if ties is not None:
        book = replace(book, market=book.market.model_copy(update={"ties": ties}))
    if towards is not None:
        book = replace(book, target_uyuan_per_kwh=parse_price(towards))
    outcomes = compare_book(book)
    emit(make_document(book, outcomes), render_comparison(book, outcomes))


def _choose_book(
    period: int | None,
    file: Path | None,
    profile_hour: int | None,
    seed: int | None,
    chain_params: Path | None,
    target: Target,
) -> SampleBook:
    if file is not None:
        return read_order_file(file, _load_market(chain_params))
    if profile_hour is not None:
        market = _load_market(chain_params)
        return plan_sample_book(load_packaged_profile(), profile_hour, 1 if seed is None else seed, market)
    return run_async(_fetch_book(period, target))


def _load_market(chain_params: Path | None) -> MarketParams:
    return load_chain_params(chain_params or get_packaged_params()).market


async def _fetch_book(period: int | None, target: Target) -> SampleBook:
    async with connect_to(target, "trading") as client:
        chosen = choose_open(await client.periods()) if period is None else Traded(period)
        return convert_book(await client.book(*chosen), await client.genesis())
