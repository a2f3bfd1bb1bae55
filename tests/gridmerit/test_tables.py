"""Tables and facts: as wide as they are where there is room, and never wider than a terminal of 80 columns."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmerit import main as cli
from gridmerit.commands.market_tables import render_weights
from gridmerit.main import COMMANDS
from gridmerit.tables import facts, fit_columns, table
from node.queries.answers import (
    ContributionsInfo,
    GateInfo,
    MemberInfo,
    PartyInfo,
    ResultInfo,
    TradeInfo,
    TradesInfo,
    WeightsInfo,
)

HASH = "0x" + "5d0f3a9c" * 5


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("COLUMNS", "80")
    return monkeypatch


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_what_fits_is_left_alone() -> None:
    assert table(["name", "address"], [("homes-1", HASH)], left=(0, 1)).splitlines() == [
        "name     address",
        "───────  " + "─" * 42,
        f"homes-1  {HASH}",
    ]


def test_hashes_are_cut_first(columns: pytest.MonkeyPatch) -> None:
    rows = [("homes-1", HASH, HASH[2:], "1234567890123456789")]
    text = table(["name", "address", "id", "serial"], rows, left=(0, 1, 2))
    assert text.splitlines()[2] == "homes-1  0x5d0f3a9c…  5d0f3a9c…  1234567890123456789"
    columns.delenv("COLUMNS")
    assert HASH in table(["name", "address", "id"], [("homes-1", HASH, HASH)]), "what is no terminal has room"


def test_heads_are_broken_where_their_columns_are_narrow(columns: pytest.MonkeyPatch) -> None:
    columns.setenv("COLUMNS", "30")
    text = table(["line", "may buy kWh", "may sell kWh"], [("hill-1", "1.000", "20.000")])
    assert text.splitlines() == [
        "line      may     may",
        "          buy    sell",
        "          kWh     kWh",
        "──────  ─────  ──────",
        "hill-1  1.000  20.000",
    ]


def test_columns_that_can_be_spared_go_in_their_order() -> None:
    rows = [("x" * 30, "y" * 30, "z" * 30, "w" * 15)]
    text = table(["one", "two", "three", "four"], rows, spare=(2, 3))
    assert text.splitlines()[0].split() == ["one", "two", "four"]


def test_texts_are_broken_over_lines_and_numbers_stay_whole(columns: pytest.MonkeyPatch) -> None:
    columns.setenv("COLUMNS", "24")
    text = table(["why", "kWh"], [("a line could not carry more", "12.500")])
    assert text.splitlines() == [
        "why                  kWh",
        "────────────────  ──────",
        "a line could not  12.500",
        "carry more",
    ]


def test_rows_that_never_fit_become_lists(columns: pytest.MonkeyPatch) -> None:
    columns.setenv("COLUMNS", "12")
    assert table(["who", "what"], [("homes-1", "offers"), ("pv-1", "bids")]) == (
        "who   homes-1\nwhat  offers\n\nwho   pv-1\nwhat  bids"
    )


def test_facts_go_on_below_themselves() -> None:
    lines = facts([("head", f"123456789  {'5d0f3a9c' * 8}"), ("at", 3)]).splitlines()
    assert lines == ["head  123456789", "      " + "5d0f3a9c" * 8, "at    3"]


@given(
    st.integers(1, 9).flatmap(
        lambda width: st.lists(
            st.tuples(*[st.text("ab0 …-", max_size=30).map(str.strip)] * width), min_size=1, max_size=4
        )
    )
)
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, ...]]) -> None:
    """Unless a single word is."""
    text = table([f"head {number}" for number in range(len(rows[0]))], rows)
    word = max(len(word) for row in rows for cell in row for word in [*cell.split(), ""])
    assert widest(text) <= max(80, word + len("head 9") + 2)


def test_weights_fit() -> None:
    parts = ContributionsInfo(
        capacity_ppm=1, credit_ppm=900_000, renewable_ppm=0, position_ppm=1, price_ppm=1, volume_ppm=1, stability_ppm=1
    )
    weights = WeightsInfo(w_ppm=12_420_000, bid_ppm=3_520_000, offer=parts, bid=parts)
    names = {"buyer": HASH, "buyer_name": "homes-1", "seller": HASH, "seller_name": "wind-122"}
    party = PartyInfo(order_id=1, node_type="producer", credit_upt=1, position="hill-1")
    trade = TradeInfo(index=10, **names, price_uyuan_per_kwh=1, volume_wh=1, bid=party, offer=party, weights=weights)
    result = ResultInfo(slot=1, block="", quorum=3, sealers=4, signed=(), silent=())
    gate = GateInfo(height=1, block="", result_root="", trade_count=1, status="settled")
    text = render_weights(TradesInfo(period=1, gate=gate, result=result, trades=(trade,)))
    assert widest(text) <= 80
    assert "stability" in text.splitlines()[0]


def test_members_fit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    member = MemberInfo(
        name="meter-homes-9", role="grid-operator", address=HASH, key="", capacity_wh=1, position="", owner=None,
        renewable_ppm=0, stability_ppm=0, seals=True, status="revoked",
        serial=2**63 - 1, tls_key="", not_before_ms=0, not_after_ms=1_800_000_000_000,
    )  # fmt: skip

    def answer(work: object) -> tuple[MemberInfo, ...]:
        work.close()  # type: ignore[attr-defined]
        return (member,)

    monkeypatch.setattr("gridmerit.commands.member.run_async", answer)
    assert cli.run(["member", "list"]) == 0
    out = capsys.readouterr().out
    assert widest(out) <= 80
    assert "0x5d0f3a9c…" in out
    assert str(2**63 - 1) not in out, "the serial is in `member show`"


def _every_command() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = [("", cli.cli)]
    for name in COMMANDS:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", item) for sub, item in command.commands.items()]
    return found


@pytest.mark.parametrize(("path", "command"), _every_command(), ids=lambda item: item if isinstance(item, str) else "")
def test_help_fits(path: str, command: click.Command) -> None:
    text = command.get_help(click.Context(command, info_name=f"gridmerit {path}", terminal_width=80))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("gridmerit")]  # a command stays whole
    assert [line for line in lines if len(line) > 80] == []


def test_a_text_is_filled_for_the_terminal(columns: pytest.MonkeyPatch) -> None:
    assert fit_columns(100) == 80
    columns.setenv("COLUMNS", "132")
    assert fit_columns(100) == 100
