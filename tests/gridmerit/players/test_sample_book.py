"""`gridmerit market compare` without a node: an hour of the packaged day, a file, and what is wrong with either."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gridmerit.errors import NoOrders
from gridmerit.network.parameters import load_packaged_profile
from gridmerit.players.plans import plan_orders
from gridmerit.players.sample_book import compare_book, plan_sample_book
from ledger.params import MarketParams
from market.trading.clearing import match_price_time
from market.trading.clearing_rules import RULES

Run = Callable[..., tuple[int, str, str]]

HEAD = "owner,side,price_yuan_per_kwh,volume_kwh"
# ann and ben want what eve has; ben bids less and has more credit
SHORT = f"{HEAD},credit_points\nann,bid,0.56,10,80\nben,bid,0.54,10,100\neve,offer,0.45,10,90\n"


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    file = tmp_path / "orders.csv"
    file.write_text(SHORT)
    return file


def test_an_hour_holds_what_the_demos_agents_order() -> None:
    profile, market = load_packaged_profile(), MarketParams()
    book = plan_sample_book(profile, 12, 3, market)
    ordered = [(book.names[order.owner], order[2:5]) for order, *_ in book.candidates]
    planned = [
        (player.name, (plan.side, plan.price_uyuan_per_kwh, plan.volume_wh))
        for player in profile.players
        for plan in plan_orders(profile, player.name, 3, market, 24)
        if plan.hour == 12
    ]
    assert ordered == planned
    trades = match_price_time([candidate.order for candidate in book.candidates])
    assert compare_book(book)[0].trade_count == len(trades) > 0


def test_a_book_without_orders_is_an_error() -> None:
    book = plan_sample_book(load_packaged_profile(), 12, 1, MarketParams())
    with pytest.raises(NoOrders):
        compare_book(type(book)(source="nothing", candidates=(), names={}, market=book.market))


def test_an_hour_as_a_table(gridmerit: Run) -> None:
    code, out, err = gridmerit("market", "compare", "--profile-hour", 20)
    assert (code, err) == (0, "")
    assert out.startswith(
        "hour 20 of the packaged day, prices drawn from seed 1: 8 bids, 762.242 kWh; 1 offer, 653.863 kWh\n"
    )
    assert all(rule in out for rule in RULES)
    assert "price-time *" in out
    assert "pv-101" not in out  # no sun
    assert max(map(len, out.splitlines())) <= 110
    assert gridmerit("market", "compare", "--profile-hour", 20, "--seed", 1)[1] == out
    assert gridmerit("market", "compare", "--profile-hour", 20, "--seed", 2)[1] != out


def test_knn_looks_for_a_price_that_is_given_and_else_clears_as_price_time_does(gridmerit: Run, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(f"{HEAD}\nann,bid,0.56,10\neve,offer,0.45,10\npia,offer,0.53,10\n")
    *_, knn = json.loads(gridmerit("market", "compare", "--file", file, "--json")[1])["rules"]
    assert (knn["rule"], knn["mean_price"], knn["sold_wh"]) == ("knn", 505_000, {"eve": 10_000})
    document = json.loads(gridmerit("market", "compare", "--file", file, "--target", "0.52", "--json")[1])
    assert document["target_uyuan_per_kwh"] == 520_000
    assert document["nearness"] == {"price": 1, "volume": 0, "credit": 0, "renewable": 0, "position": 0}
    *_, knn = document["rules"]
    assert (knn["mean_price"], knn["sold_wh"]) == (530_000, {"pia": 10_000})
    assert knn["welfare_uyuan"] == "300000", "near is not cheap: eve asks less"
    says = "knn looks for offers near 0.52 yuan per kWh."
    assert says in gridmerit("market", "compare", "--file", file, "--target", "0.52")[1]
    assert "knn has no target, and clears as price-time does." in gridmerit("market", "compare", "--file", file)[1]
    assert gridmerit("market", "compare", "--file", file, "--target", "x")[0] == 2


def test_a_file_as_a_document(gridmerit: Run, orders: Path) -> None:
    code, out, _ = gridmerit("market", "compare", "--file", orders, "--json")
    assert code == 0
    document = json.loads(out)
    assert (document["bids"], document["wanted_wh"]) == (2, 20_000)
    assert (document["offers"], document["offered_wh"]) == (1, 10_000)
    by_rule = {outcome["rule"]: outcome for outcome in document["rules"]}
    assert by_rule["price-time"]["bought_wh"] == {"ann": 10_000}
    assert by_rule["price-time"]["sold_wh"] == {"eve": 10_000}
    assert by_rule["price-time"]["welfare_uyuan"] == "1100000"
    assert by_rule["credit-weighted"]["mean_price"] == 505_000  # ann again: a better price weighs more than credit
    assert by_rule["pay-as-bid"]["mean_price"] == 560_000
    assert by_rule["uniform-price"]["mean_price"] == 550_000  # between ann's 0.56 and ben's 0.54, who is left out


def test_weights_and_k_come_from_chain_parameters(gridmerit: Run, orders: Path, tmp_path: Path) -> None:
    params = tmp_path / "jy1.toml"
    params.write_text(
        'name = "jy1"\n[market]\nclearing_rule = "credit-weighted"\nk_ppm = 0\n[market.weights]\nprice_ppm = 0\n'
    )
    document = json.loads(gridmerit("market", "compare", "--file", orders, "--chain-params", params, "--json")[1])
    by_rule = {outcome["rule"]: outcome for outcome in document["rules"]}
    assert document["chain_rule"] == "credit-weighted"
    assert document["weights"]["price_ppm"] == 0
    assert by_rule["credit-weighted"]["bought_wh"] == {"ben": 10_000}
    assert by_rule["uniform-price"]["mean_price"] == 540_000


def test_the_mark_that_some_editors_begin_a_file_with_is_read_over(
    gridmerit: Run, orders: Path, tmp_path: Path
) -> None:
    params = tmp_path / "jy1.toml"
    params.write_text('name = "jy1"\n', encoding="utf-8-sig")
    words = ("market", "compare", "--file", orders, "--chain-params", params)
    plain = gridmerit(*words)
    orders.write_text(orders.read_text(), encoding="utf-8-sig")
    assert gridmerit(*words) == plain
    assert plain[0] == 0


FIVE = "\n".join([HEAD, "ann,bid,0.5,0.01", *(f"pv-{n},offer,0.4,0.01" for n in range(5))])


def test_equal_orders_share_or_the_earlier_is_served_first(gridmerit: Run, orders: Path) -> None:
    orders.write_text(FIVE)
    shared = json.loads(gridmerit("market", "compare", "--file", orders, "--json")[1])
    assert shared["ties"] == "pro-rata"
    assert all(outcome["sold_wh"] == {f"pv-{n}": 2 for n in range(5)} for outcome in shared["rules"])
    by_time = json.loads(gridmerit("market", "compare", "--file", orders, "--ties", "time", "--json")[1])
    assert by_time["ties"] == "time"
    assert all(outcome["sold_wh"] == {"pv-0": 10} for outcome in by_time["rules"])
    assert "Equal orders share what there is for them" in gridmerit("market", "compare", "--file", orders)[1]


def test_many_players_are_cut_off_in_the_table_alone(gridmerit: Run, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("\n".join([HEAD, *(f"p{n},bid,0.5,{n + 1}" for n in range(40)), "eve,offer,0.4,10"]))
    out = gridmerit("market", "compare", "--file", file)[1]
    assert out.endswith("… and 17 more, all with --json\n")


# --- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--profile-hour", "3", "--period", "7"], "--period and --profile-hour name different orders: choose one"),
        (["--seed", "3"], "--seed draws the prices of --profile-hour, which is missing"),
        (["--chain-params", "x.toml"], "--chain-params goes with --file or --profile-hour"),
        (["--profile-hour", "24"], "Invalid value for '--profile-hour'"),
    ],
)
def test_2_options_that_do_not_go_together(gridmerit: Run, args: list[str], message: str) -> None:
    code, out, err = gridmerit("market", "compare", *args)
    assert (code, out) == (2, "")
    assert message in err


def test_3_a_bad_line_is_shown_with_what_is_wanted(gridmerit: Run, orders: Path) -> None:
    orders.write_text(SHORT + "fay,buy,0.5,1,90\n")
    code, out, err = gridmerit("market", "compare", "--file", orders)
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        f"error[BadOrders] {orders}, line 5: side cannot be read",
        "  have 'buy', want bid or offer",
        "  try: gridmerit market compare --help, which shows such a file",
    ]


def test_3_a_file_that_is_not_there_or_not_text(gridmerit: Run, tmp_path: Path) -> None:
    code, _, err = gridmerit("market", "compare", "--file", tmp_path / "nowhere.csv")
    assert (code, "error[UnreadableFile]" in err) == (3, True)
    (tmp_path / "raw.csv").write_bytes(b"\xff\xfe")
    code, _, err = gridmerit("market", "compare", "--file", tmp_path / "raw.csv")
    assert (code, "it is not UTF-8 text" in err) == (3, True)


def test_4_without_a_source_a_node_is_asked(gridmerit: Run) -> None:
    code, _, err = gridmerit("market", "compare", "--api", "http://127.0.0.1:1")
    assert (code, "error[Unreachable]" in err) == (4, True)


def test_5_a_file_with_a_header_only(gridmerit: Run, orders: Path) -> None:
    orders.write_text(HEAD + "\n")
    code, _, err = gridmerit("market", "compare", "--file", orders)
    assert code == 5
    assert f"error[NoOrders] there is no order to clear: {orders}" in err
    assert "--profile-hour" in err
