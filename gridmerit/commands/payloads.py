"""Payloads of transactions from what a person types, by kind; JSON for the kinds that have no form of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import click

from gridmerit.amounts import parse_kwh, parse_points, parse_price, parse_yuan
from gridmerit.errors import NoSuchCoin, NotEnoughCredit
from gridmerit.text import format_scaled
from ledger.hashing import Address
from market.credit.colored_coin import Label, choose_padding_code, make_sequence, padding
from market.trading.clearing_rules import is_by_target
from market.trading.targets import GamePrices
from node.api.client import Client
from node.queries.answers import AssetsInfo, CoinInfo

_FORMS = {
    "transfer": "TO YUAN",
    "plan": "PERIOD LINE=LOAD_KWH:OUTPUT_KWH …",
    "game-target": "PERIOD G_TO_U G_TO_C C_TO_U C_TO_G",
    "reading": "PERIOD CONSUMED_KWH MADE_KWH",
    "register": "PERIOD CONSUMED_KWH MADE_KWH",
    "coin-transfer": "COIN … TO=POINTS …",
}
_SHOWN = 16  # digits of a coin's transaction


async def make_payload(client: Client, kind: str, values: Sequence[str], sender: Address) -> tuple[Any, ...]:
    """The payload that `gridmerit tx send KIND VALUES…` stands for, where `sender` signs. Raises a usage error.

    `client` is one of the chain that the transaction goes to.
    """
    match kind, tuple(values):
        case "transfer", (to, yuan):
            return (await _find_address(client, to), parse_yuan(yuan))
        case "reading" | "register", (period, consumed, made):
            return (_parse_int(period), parse_kwh(consumed), parse_kwh(made))
        case "plan", (period, line, *more) if not line.startswith("["):
            return await _make_plan(client, period, [line, *more])
        case "game-target", (period, *prices) if len(prices) == len(GamePrices._fields):
            return await _make_target(client, period, prices)
        case "coin-transfer", (first, *_) if not first.startswith("["):
            return await _make_coin_transfer(client, values, sender)
        case ("plan", (_, _)) | ("game-target", (_, _)) | ("coin-transfer", (_, _, _)):
            pass  # as JSON
        case (form, _) if form in _FORMS:
            raise click.UsageError(f"{kind} takes {_FORMS[kind]}; see gridmerit tx send --help")
    return tuple(_parse_json(value) for value in values)


async def _find_address(client: Client, ref: str) -> Address:
    return bytes.fromhex((await client.account(ref)).address[2:])


# --- plans ---------------------------------------------------------------------------------------


async def _make_plan(client: Client, period: str, lines: Sequence[str]) -> tuple[Any, ...]:
    rows = tuple(_parse_line(line) for line in lines)
    params = (await client.genesis()).params
    known = [line.name for line in params.scheduling.lines]
    unknown = [name for name, _, _ in rows if name not in known]
    if unknown and params.kind == "scheduling":
        raise click.UsageError(f"there is no line {unknown[0]!r}, {client.chain} has {', '.join(known)}")
    return (_parse_int(period), rows)


def _parse_line(text: str) -> tuple[str, int, int]:
    """`hill-1=70:800`: name, load and output in Wh."""
    name, _, amounts = text.rpartition("=")
    load, colon, output = amounts.partition(":")
    if not (name and colon):
        raise click.UsageError(f"{text!r} is not LINE=LOAD_KWH:OUTPUT_KWH, such as hill-1=70:800")
    return name, parse_kwh(load), parse_kwh(output)


async def _make_target(client: Client, period: str, prices: Sequence[str]) -> tuple[Any, ...]:
    rule = (await client.genesis()).params.market.clearing_rule
    if not is_by_target(rule):
        raise click.UsageError(f"{client.chain} clears by {rule}, and only knn looks for a target")
    return (_parse_int(period), tuple(parse_price(price) for price in prices))


# --- credit assets -------------------------------------------------------------------------------


async def _make_coin_transfer(client: Client, values: Sequence[str], sender: Address) -> tuple[Any, ...]:
    """Inputs, outputs and the label of Eq. (3) with the least padding that lifts every output above dust."""
    payments = [_parse_payment(value) for value in values if "=" in value]
    names = [value for value in values if "=" not in value]
    if not (payments and names):
        raise click.UsageError(f"coin-transfer takes {_FORMS['coin-transfer']}; see gridmerit tx send --help")
    coins = _choose_coins(await client.assets(sender), names)
    owners = [(await _find_address(client, to), credit_upt) for to, credit_upt in payments]
    outputs = lay_out([(coin.colour, coin.credit_upt) for coin in coins], owners, sender)
    sequence = make_sequence(Label.TRANSFER, choose_padding_code(min(credit_upt for _, credit_upt in outputs)))
    return (
        tuple((bytes.fromhex(coin.transaction), coin.output) for coin in coins),
        tuple((owner, credit_upt + padding(sequence)) for owner, credit_upt in outputs),
        sequence,
    )


def lay_out(
    coins: Iterable[tuple[str, int]], payments: Iterable[tuple[Address, int]], sender: Address
) -> list[tuple[Address, int]]:
    """Outputs (owner, credit) in the order of the coins (colour, credit), each of one colour; the rest is the sender's.

    A payment that needs credit of several colours becomes as many outputs. Raises `NotEnoughCredit`.
    """
    line: list[tuple[str, int]] = []
    for colour, credit_upt in coins:
        if line and line[-1][0] == colour:
            credit_upt += line.pop()[1]
        line.append((colour, credit_upt))
    wanted, have_upt = list(payments), sum(credit_upt for _, credit_upt in line)
    want_upt = sum(credit_upt for _, credit_upt in wanted)
    if have_upt < want_upt:
        raise NotEnoughCredit(have=_show_points(have_upt), want=_show_points(want_upt))
    if have_upt > want_upt:
        wanted.append((sender, have_upt - want_upt))
    outputs: list[tuple[Address, int]] = []
    left = [credit_upt for _, credit_upt in line]
    for owner, credit_upt in wanted:
        while credit_upt:
            taken = min(credit_upt, left[0])
            outputs.append((owner, taken))
            credit_upt -= taken
            left[0] -= taken
            if not left[0]:
                del left[0]
    return outputs


def _choose_coins(assets: AssetsInfo, names: Iterable[str]) -> list[CoinInfo]:
    """The coins that these names begin to say. Raises `NoSuchCoin` or a usage error."""
    chosen: list[CoinInfo] = []
    for ref in names:
        found = [coin for coin in assets.newest if _begins(coin, ref)]
        if not found:
            raise NoSuchCoin(owner=assets.name or assets.address, listed=len(assets.newest), ref=ref)
        if len(found) > 1:
            raise click.UsageError(f"{len(found)} of your coins begin with {ref!r}: say more of the name")
        if found[0] in chosen:
            raise click.UsageError(f"the coin {ref!r} is named twice")
        chosen += found
    return chosen


def name_coin(coin: CoinInfo) -> str:
    """The name of a coin for people: the beginning of its transaction, and which of the outputs it is."""
    return f"{coin.transaction[:_SHOWN]}:{coin.output}"


def _begins(coin: CoinInfo, ref: str) -> bool:
    """Tell if a name is this coin's: the beginning of its transaction, with or without the number of the output."""
    transaction, colon, output = ref.partition(":")
    return coin.transaction.startswith(transaction) and (not colon or output == str(coin.output))


def _parse_payment(text: str) -> tuple[str, int]:
    """`homes-3=12.5`: a member, and micro-points."""
    to, _, points = text.rpartition("=")
    if not (to and points and (credit_upt := parse_points(points))):
        raise click.UsageError(f"{text!r} is not TO=POINTS, such as homes-3=12.5")
    return to, credit_upt


def _show_points(credit_upt: int) -> str:
    return format_scaled(credit_upt, 6, least=3)


# --- any other kind ------------------------------------------------------------------------------


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is not a whole number") from None


def _parse_json(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise click.UsageError(f"{text!r} is not JSON; text needs quotes of its own: '\"{text}\"'") from None
    return _to_value(value)


def _to_value(value: Any) -> Any:
    match value:
        case str() if value.startswith("0x"):
            try:
                return bytes.fromhex(value[2:])
            except ValueError:
                raise click.UsageError(f"{value!r} is not hexadecimal") from None
        case list():
            return tuple(_to_value(item) for item in value)
        case bool() | float() | dict():
            raise click.UsageError(f"{value!r} cannot stand in a transaction; whole numbers, text, null and lists can")
    return value
