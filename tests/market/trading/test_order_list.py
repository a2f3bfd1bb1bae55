"""Orders written as CSV: units, defaults, and errors that name the line and what is wanted."""

import pytest

from market.errors import BadOrders
from market.orders import Order, Side
from market.trading.matching_weight import WeightedOrder
from market.trading.order_list import OPTIONAL_COLUMNS, parse_orders

HEAD = "owner,side,price_yuan_per_kwh,volume_kwh"
ANN, BEN = bytes(20), bytes(19) + b"\1"


def parse(text):
    return parse_orders(text, source="orders.csv", initial_credit_upt=90_000_000)


def test_lines_are_orders_in_order_of_placing():
    orders = parse(f"{HEAD}\nann,bid,0.56,99.66\n\n ben , offer,0.41,200\nann,bid,1,0.001\n")
    assert orders.names == {ANN: "ann", BEN: "ben"}
    assert orders.candidates == (
        WeightedOrder(Order(0, ANN, Side.BID, 560_000, 99_660, 0), 90_000_000, 0, 0, "", 0),
        WeightedOrder(Order(1, BEN, Side.OFFER, 410_000, 200_000, 1), 90_000_000, 0, 0, "", 0),
        WeightedOrder(Order(2, ANN, Side.BID, 1_000_000, 1, 2), 90_000_000, 0, 0, "", 0),
    )


def test_statements_come_in_any_order_and_may_be_empty():
    head = f"stability_share,position,{HEAD},renewable_share,capacity_kwh,credit_points"
    orders = parse(f"{head}\n0.25,feeder-1,ann,bid,0.5,1,1,300,97.5\n,,ben,offer,0.5,1,,,\n")
    assert [candidate[1:] for candidate in orders.candidates] == [
        (97_500_000, 300_000, 1_000_000, "feeder-1", 250_000),
        (90_000_000, 0, 0, "", 0),
    ]


def test_two_spellings_of_a_name_are_one_owner():
    composed, decomposed = "M\N{LATIN SMALL LETTER U WITH DIAERESIS}ller", "Mu\N{COMBINING DIAERESIS}ller"
    orders = parse(f"{HEAD}\n{composed},bid,0.56,1\n{decomposed},offer,0.41,1\n")
    assert orders.names == {ANN: composed}
    assert {candidate.order.owner for candidate in orders.candidates} == {ANN}


@pytest.mark.parametrize(
    ("text", "line", "what", "want"),
    [
        ("", 1, "header", "also owner, side"),
        ("owner,side\n", 1, "header", "also price_yuan_per_kwh, volume_kwh"),
        (f"{HEAD},colour\n", 1, "header", OPTIONAL_COLUMNS[-1]),
        (f"{HEAD},owner\n", 1, "header", "at most once"),
        (f"{HEAD}\nann,bid,0.5\n", 2, "line", "4"),
        (f"{HEAD}\nann,bid,0.5,1\n\nann,buy,0.5,1\n", 4, "side", "bid or offer"),
        (f"{HEAD}\n,bid,0.5,1\n", 2, "owner", "a name"),
        (f"{HEAD}\nan\N{ZERO WIDTH JOINER}n,bid,1,1\n", 2, "owner", "U+200D"),
        (f"{HEAD}\n{'a' * 65},bid,1,1\n", 2, "owner", "at most 64 characters"),
        (f"{HEAD}\n\N{CYRILLIC SMALL LETTER A}nn,bid,1,1\n", 2, "owner", "mixes Latin and Cyrillic"),
        (f"{HEAD}\naxe,bid,1,1\n\u0430\u0445\u0435,offer,1,1\n", 3, "owner", "look like another one's: 'axe'"),
        (f"{HEAD}\nann,bid,0,1\n", 2, "price_yuan_per_kwh", "from 0.000001 to 100"),
        (f"{HEAD}\nann,bid,-1,1\n", 2, "price_yuan_per_kwh", "with up to 6 decimals"),
        (f"{HEAD}\nann,bid,0.1234567,1\n", 2, "price_yuan_per_kwh", "with up to 6 decimals"),
        (f"{HEAD}\nann,bid,1e3,1\n", 2, "price_yuan_per_kwh", "a number"),
        (f"{HEAD}\nann,bid,٣,1\n", 2, "price_yuan_per_kwh", "a number"),
        (f"{HEAD}\nann,bid,0.5,0\n", 2, "volume_kwh", "from 0.001"),
        (f"{HEAD}\nann,bid,0.5,100000001\n", 2, "volume_kwh", "to 100000000"),
        (f"{HEAD},credit_points\nann,bid,0.5,1,100.1\n", 2, "credit_points", "from 0 to 100"),
        (f"{HEAD},renewable_share\nann,bid,0.5,1,2\n", 2, "renewable_share", "from 0 to 1"),
        (f'{HEAD}\n"ann,bid,0.5,1\n', 2, "line", "plain CSV"),
    ],
)
def test_an_error_names_the_line_and_what_is_wanted(text, line, what, want):
    with pytest.raises(BadOrders) as caught:
        parse(text)
    values = caught.value.values
    assert (values["file"], values["line"], values["what"]) == ("orders.csv", line, what)
    assert want in str(values["want"])


def test_a_list_has_an_end(monkeypatch):
    monkeypatch.setattr("market.trading.order_list.MAX_ORDERS", 2)
    with pytest.raises(BadOrders, match="line 4: orders"):
        parse(f"{HEAD}\n" + "ann,bid,0.5,1\n" * 3)
