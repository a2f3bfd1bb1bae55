"""The report of a market day, on two hours small enough to follow by hand.

hour 0  sun sells 10 kWh to anna at 0.50, makes 8; anna uses 10; bert, without a trade, uses 5
hour 1  sun sells  4 kWh to bert at 0.50, makes 6; bert uses 4
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import MissingExtra
from ledger.genesis import Genesis, GenesisMember
from ledger.params import ChainParams, ConsensusParams, LedgerParams
from ledger.signatures import SigningKey
from node.answers import (
    AccountInfo,
    BlockSummary,
    ChainStatus,
    Forks,
    GateInfo,
    GridSettlementInfo,
    SettledTradeInfo,
    SettlementInfo,
    TradeInfo,
    TradesInfo,
)
from node.day import (
    GRID_COMPANY,
    DayRecord,
    PeerRecord,
    compute_active_credits,
    compute_band,
    compute_credits,
    compute_nets,
    compute_payments,
    count_sealed,
    run_checks,
    summarise_hours,
)
from node.plot import draw_day
from node.report import make_document, render_markdown, render_text

PERIOD_MS = 1_000
FIRST = 5  # hour 0 is delivered in this period: settled at 7 s, hour 1 at 8 s
HOUR_0_MS = 1_594_771_200_000
POINT = 1_000_000
YUAN = 1_000_000
FOUNDING_UYUAN = 100 * YUAN
KEYS = {name: SigningKey(name.encode().ljust(32, b".")) for name in ("sun", "anna", "bert", "grid")}


def _address(name: str) -> str:
    return "0x" + KEYS[name].address.hex()


def _make_genesis() -> Genesis:
    def member(name: str, role: str, *, seals: bool = False) -> GenesisMember:
        key = KEYS[name].public_key
        return GenesisMember(name=name, role=role, key=key, seals=seals, balance_uyuan=FOUNDING_UYUAN)  # type: ignore[arg-type]

    params = ChainParams(
        name="jy1",
        ledger=LedgerParams(period_ms=PERIOD_MS),
        consensus=ConsensusParams(block_interval_ms=200, max_ahead_ms=500),
    )
    members = (
        member("grid", "grid-operator"),
        member("sun", "producer", seals=True),
        member("anna", "consumer", seals=True),
        member("bert", "consumer"),
    )
    return Genesis(params=params, time_ms=0, members=members)


def _make_trades(period: int, buyer: str, volume_wh: int) -> TradesInfo:
    trade = TradeInfo(
        index=0,
        buyer=_address(buyer),
        buyer_name=buyer,
        seller=_address("sun"),
        seller_name="sun",
        price_uyuan_per_kwh=500_000,
        volume_wh=volume_wh,
    )
    gate = GateInfo(height=1, block="ab", result_root="cd", trade_count=1, status="settled")
    return TradesInfo(period=period, gate=gate, trades=(trade,))


def _make_settled(buyer: str, used_wh: int, made_wh: int, pays: int, receives: int) -> SettledTradeInfo:
    return SettledTradeInfo(
        index=0,
        buyer=_address(buyer),
        buyer_name=buyer,
        seller=_address("sun"),
        seller_name="sun",
        consumption_wh=used_wh,
        output_wh=made_wh,
        buyer_pays_uyuan=pays,
        seller_receives_uyuan=receives,
        grid_receives_uyuan=pays - receives,
        traded_wh=min(used_wh, made_wh),
    )


def _make_block(height: int, time_ms: int, producer: str | None, credit: int) -> BlockSummary:
    return BlockSummary(
        height=height,
        hash=f"{height:064x}",
        producer="" if producer is None else _address(producer),
        producer_name=producer,
        timestamp_ms=time_ms,
        tx_count=0,
        credit_upt=credit * POINT,
        n_diff=1,
        period=time_ms // PERIOD_MS,
    )


def _make_account(name: str, balance_uyuan: int, credit: int) -> AccountInfo:
    return AccountInfo(
        height=7,
        address=_address(name),
        name=name,
        role="consumer",
        balance_uyuan=FOUNDING_UYUAN + balance_uyuan,
        reserved_uyuan=0,
        credit_upt=credit * POINT,
        sequence=0,
        next_sequence=0,
        score_count=0,
        penalty_upt=0,
        capacity_wh=0,
        position="",
    )


def _make_status(head: str = "aa") -> ChainStatus:
    return ChainStatus(
        chain="jy1",
        chain_id="00",
        height=7,
        head=head,
        state_root="bb",
        work=1,
        final_height=3,
        final_hash="cc",
        period=9,
        head_time_ms=9_200,
        time_ms=9_300,
        period_ms=PERIOD_MS,
        block_interval_ms=200,
        genesis_time_ms=0,
        peers=1,
        mempool_count=0,
        mempool_bytes=0,
        syncing=False,
        sync_target=0,
        forks=Forks(side_blocks=1, reorgs=1, deepest_reorg=1),
        blocks_refused=0,
    )


@pytest.fixture
def record() -> DayRecord:
    return DayRecord(
        genesis=_make_genesis(),
        seed=1,
        first_period=FIRST,
        hours_ms=(HOUR_0_MS, HOUR_0_MS + 3_600_000),
        trades=(_make_trades(FIRST, "anna", 10_000), _make_trades(FIRST + 1, "bert", 4_000)),
        settlements=(
            SettlementInfo(
                period=FIRST,
                trades=(_make_settled("anna", 10_000, 8_000, 5_390_000, 4_000_000),),
                grid=(
                    GridSettlementInfo(
                        member=_address("bert"),
                        member_name="bert",
                        consumption_wh=5_000,
                        output_wh=0,
                        pays_uyuan=3_075_000,
                        receives_uyuan=0,
                    ),
                ),
            ),
            SettlementInfo(
                period=FIRST + 1, trades=(_make_settled("bert", 4_000, 6_000, 2_080_000, 2_820_000),), grid=()
            ),
        ),
        blocks=(
            _make_block(0, 0, None, 0),
            _make_block(1, 6_500, "sun", 90),
            _make_block(2, 7_100, "anna", 90),  # first of period 7: keeps the credits, then settles hour 0
            _make_block(3, 7_500, "sun", 90),
            _make_block(4, 8_050, "sun", 90),  # first of period 8: takes hour 0's credits, then settles hour 1
            _make_block(5, 8_500, "anna", 100),
            _make_block(6, 9_100, "sun", 80),  # first of period 9: takes hour 1's credits
            _make_block(7, 9_200, "sun", 90),
        ),
        accounts={
            "grid": _make_account("grid", 3_725_000, 90),
            "sun": _make_account("sun", 6_820_000, 90),
            "anna": _make_account("anna", -5_390_000, 100),
            "bert": _make_account("bert", -5_155_000, 100),
        },
        peers=(PeerRecord(name="sun", status=_make_status()), PeerRecord(name="anna", status=_make_status())),
        sent=7,
        lost=(),
        refused=(),
        problems=(),
        proof_statement="sun sold 10 kWh to anna",
        proof_problem=None,
        duration_ms=9_300,
    )


# --- values --------------------------------------------------------------------------------------


def test_hours(record: DayRecord) -> None:
    first, second = summarise_hours(record)
    assert (first.trades, first.volume_wh, first.mean_uyuan_per_kwh) == (1, 10_000, 500_000)
    assert (first.consumed_wh, first.produced_wh) == (15_000, 8_000)
    assert (second.low_uyuan_per_kwh, second.high_uyuan_per_kwh) == (500_000, 500_000)


def test_who_paid_whom(record: DayRecord) -> None:
    assert compute_payments(record) == {
        ("anna", "sun"): 4_000_000,  # 8 kWh at 0.50
        ("anna", GRID_COMPANY): 1_390_000,  # wheeling on 8, retail for 2
        ("bert", GRID_COMPANY): 3_075_000 + 80_000,
        ("bert", "sun"): 2_000_000,
        (GRID_COMPANY, "sun"): 820_000,  # feed-in for 2
    }


def test_the_nets_sum_to_zero(record: DayRecord) -> None:
    nets = compute_nets(compute_payments(record))
    assert nets == {"sun": 6_820_000, "anna": -5_390_000, "bert": -5_155_000, GRID_COMPANY: 3_725_000}
    assert sum(nets.values()) == 0


def test_credits_after_each_hour(record: DayRecord) -> None:
    history = compute_credits(record)
    points: Mapping[str, list[int]] = {
        name: [value // POINT for value in values] for name, values in history.by_player.items()
    }
    assert points == {"sun": [90, 80, 90], "anna": [90, 100, 100], "bert": [90, 90, 100]}
    assert history.deliveries == {"sun": 2, "anna": 1, "bert": 1}


def test_snapshots_are_those_in_force_at_the_parent(record: DayRecord) -> None:
    snapshots = compute_active_credits(record, compute_credits(record))
    assert [snapshot["sun"] // POINT for snapshot in snapshots] == [90, 90, 90, 90, 80, 80, 90]


def test_expected_blocks_follow_the_snapshots(record: DayRecord) -> None:
    sun, anna = count_sealed(record, compute_active_credits(record, compute_credits(record)))
    lesser, least = 1 / (1 + math.e), 1 / (1 + math.e**2)  # 10 and 20 points behind at τ = 10
    assert (sun.sealed, anna.sealed) == (5, 2)
    assert sun.expected == pytest.approx(4 * 0.5 + 2 * least + lesser)
    assert sun.expected + anna.expected == pytest.approx(7)


@given(chances=st.lists(st.floats(min_value=0, max_value=1), max_size=12))
def test_the_band_is_the_narrowest_central_one(chances: list[float]) -> None:
    low, high = compute_band(chances)
    weights = _enumerate(chances)
    assert sum(weights[:low]) <= 0.025 + 1e-9
    assert sum(weights[: low + 1]) > 0.025 - 1e-9
    assert sum(weights[high + 1 :]) <= 0.025 + 1e-9
    assert sum(weights[high:]) > 0.025 - 1e-9


def test_the_band_of_equal_chances_is_the_binomial_one() -> None:
    weights = [math.comb(100, k) * 0.25**k * 0.75 ** (100 - k) for k in range(101)]
    low, high = compute_band([0.25] * 100)
    assert sum(weights[low : high + 1]) >= 0.95
    assert (low, high) == (17, 34)


def _enumerate(chances: list[float]) -> list[float]:
    """The distribution of the count, over all subsets."""
    weights = [0.0] * (len(chances) + 1)
    for subset in range(2 ** len(chances)):
        happened = [bool(subset >> index & 1) for index in range(len(chances))]
        weights[sum(happened)] += math.prod(
            chance if yes else 1 - chance for chance, yes in zip(chances, happened, strict=True)
        )
    return weights


# --- checks --------------------------------------------------------------------------------------


def _failed(record: DayRecord) -> list[str]:
    return [check.name for check in run_checks(record) if not check.passed]


def test_a_good_day_passes(record: DayRecord) -> None:
    assert _failed(record) == []


def test_peers_that_differ_are_named(record: DayRecord) -> None:
    other = PeerRecord(name="anna", status=_make_status(head="dd"))
    assert _failed(replace(record, peers=(record.peers[0], other))) == ["one head"]


def test_a_void_hour_fails(record: DayRecord) -> None:
    void = replace(record.trades[1], gate=replace(record.trades[1].gate, status="void"))
    assert _failed(replace(record, trades=(record.trades[0], void))) == ["every hour settled"]


def test_a_lost_transaction_fails(record: DayRecord) -> None:
    assert _failed(replace(record, lost=("ab" * 32,))) == ["every transaction took effect"]
    assert _failed(replace(record, problems=("anna: gone",))) == ["every transaction took effect"]


def test_a_micro_yuan_too_many_fails(record: DayRecord) -> None:
    account = record.accounts["anna"]
    accounts = {**record.accounts, "anna": replace(account, balance_uyuan=account.balance_uyuan + 1)}
    assert _failed(replace(record, accounts=accounts)) == ["balances match"]


def test_legs_that_do_not_sum_to_zero_fail(record: DayRecord) -> None:
    row = record.settlements[1].trades[0]
    bent = replace(record.settlements[1], trades=(replace(row, grid_receives_uyuan=row.grid_receives_uyuan + 1),))
    assert _failed(replace(record, settlements=(record.settlements[0], bent))) == ["payments sum to zero"]


def test_a_credit_out_of_nowhere_fails(record: DayRecord) -> None:
    accounts = {**record.accounts, "bert": replace(record.accounts["bert"], credit_upt=99 * POINT)}
    assert _failed(replace(record, accounts=accounts)) == ["credits match"]


def test_a_header_with_another_credit_fails(record: DayRecord) -> None:
    bent = replace(record.blocks[5], credit_upt=90 * POINT)
    blocks = (*record.blocks[:5], bent, *record.blocks[6:])
    assert _failed(replace(record, blocks=blocks)) == ["headers claim their credit"]


def test_a_proof_that_does_not_hold_fails(record: DayRecord) -> None:
    assert _failed(replace(record, proof_statement=None, proof_problem="InvalidProof")) == ["a trade proved offline"]


def test_an_hour_without_a_gate_fails_and_the_report_still_stands(record: DayRecord, tmp_path: Path) -> None:
    short = replace(record, trades=record.trades[1:], settlements=record.settlements[1:])
    assert "every hour settled" in _failed(short)
    assert summarise_hours(short)[0].hour == 1
    assert "FAILED" in render_text(short)
    draw_day(short, tmp_path / "day.png")


# --- documents -----------------------------------------------------------------------------------


def test_text_and_markdown_hold_the_same_tables(record: DayRecord) -> None:
    text, markdown = render_text(record), render_markdown(record, has_plot=True)
    for word in ("Trades by hour", "Who paid whom", "Blocks sealed", "6.820000", "one head"):
        assert word in text
        assert word in markdown
    assert "![" in markdown
    assert "![" not in render_markdown(record, has_plot=False)


def test_the_document_is_json_of_integers_in_small_units(record: DayRecord) -> None:
    document = json.loads(json.dumps(make_document(record)))
    assert document["passed"] is True
    assert document["net_uyuan"]["sun"] == 6_820_000
    assert document["credit_upt"]["sun"] == [90 * POINT, 80 * POINT, 90 * POINT]
    assert document["trades"][0]["volume_wh"] == 10_000


def test_the_plot_is_a_png(record: DayRecord, tmp_path: Path) -> None:
    draw_day(record, tmp_path / "day.png")
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_without_matplotlib_the_plot_says_what_is_missing(
    record: DayRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra):
        draw_day(record, tmp_path / "day.png")
