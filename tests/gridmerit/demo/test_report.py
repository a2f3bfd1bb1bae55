"""The report of a market day, on two hours small enough to follow by hand.

hour 0  sun sells 10 kWh to anna at 0.50, makes 8; anna uses 10; bert, without a trade, uses 5
hour 1  sun sells  6 kWh to bert at 0.50, of which the lane carries 4; sun makes 6, bert uses 4

                          ┌─ lane   bert        wheeling 0.02 on main, 0.03 on lane
substation ── main ───────┤
              sun, anna   └─ (nobody)

LH1 hears of hour 0 in its block 2 and of hour 1 in block 4; what it tells in blocks 3 and 5, JY1 takes in with its own
blocks 3 and 5, and makes it count from the block after the next period's first.
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

from gridmerit.demo.checks import run_checks
from gridmerit.demo.day import (
    GRID_COMPANY,
    KINDS,
    ChainRecord,
    DayRecord,
    HourRecord,
    Message,
    NodeRecord,
    ProofRecord,
    compute_nets,
    compute_payments,
    summarise_hours,
    summarise_lines,
)
from gridmerit.demo.plot import draw_day
from gridmerit.demo.recompute import compute_band, compute_credits, count_sealed, replay
from gridmerit.demo.report import make_document, render_markdown, render_text
from ledger.genesis import Genesis, GenesisMember
from ledger.params import Area, ChainParams, ConsensusParams, Kind, LedgerParams, Line, MarketParams, SchedulingParams
from market.trading.matching_weight import WeightInputs
from node.queries.answers import (
    AccountInfo,
    AssetsInfo,
    BlockSummary,
    ChainStatus,
    ContractInfo,
    ContributionsInfo,
    CurtailmentInfo,
    DigestInfo,
    Forks,
    GateInfo,
    GridSettlementInfo,
    LineQuotaInfo,
    PartyInfo,
    RecordedDigest,
    ResultInfo,
    SchedulingInfo,
    SettledTradeInfo,
    SettlementInfo,
    TradeInfo,
    TradesInfo,
    WeightsInfo,
)
from simulation.errors import MissingExtra
from tests.support.keys import key_of

PERIOD_MS = 1_000
FIRST = 5  # hour 0 is delivered in this period
HOUR_0_MS = 1_594_771_200_000
POINT = 1_000_000
YUAN = 1_000_000
FOUNDING_UYUAN = 100 * YUAN
KEYS = {name: key_of(name) for name in ("sun", "anna", "bert", "grid")}
NAMES: dict[Kind, str] = {"trading": "jy1", "scheduling": "du1", "credit": "lh1"}


def _address(name: str) -> str:
    return "0x" + KEYS[name].address.hex()


def _make_genesis(kind: Kind) -> Genesis:
    def member(name: str, role: str, position: str, *, seals: bool = False) -> GenesisMember:
        key = KEYS[name].public_key
        return GenesisMember(
            name=name,
            role=role,
            key=key,
            seals=seals,
            balance_uyuan=FOUNDING_UYUAN,
            position=position,  # type: ignore[arg-type]
        )

    grid = SchedulingParams(
        quota_ppm=4_000_000,
        areas=(Area(name="wide", wheeling_uyuan_per_kwh=20_000), Area(name="narrow", wheeling_uyuan_per_kwh=30_000)),
        lines=(
            Line(name="main", area="wide", capacity_wh=50_000),
            Line(name="lane", upstream="main", area="narrow", capacity_wh=4_000),
        ),
    )
    chains = [
        ChainParams(
            name=name,
            kind=each,
            ledger=LedgerParams(period_ms=PERIOD_MS),
            consensus=ConsensusParams(block_interval_ms=200, max_ahead_ms=500),
            market=MarketParams(),
            scheduling=grid if each == "scheduling" else SchedulingParams(),
        )
        for each, name in NAMES.items()
    ]
    members = (
        member("grid", "grid-operator", ""),
        member("sun", "producer", "main", seals=True),
        member("anna", "consumer", "main", seals=True),
        member("bert", "consumer", "lane"),
    )
    return Genesis(params=chains[0], time_ms=0, members=members, siblings=tuple(chains[1:])).open(NAMES[kind])


# --- hours ---------------------------------------------------------------------------------------


def _make_hour(
    period: int, buyer: str, agreed_wh: int, accepted_wh: int, settled: SettledTradeInfo, *rest: GridSettlementInfo
) -> HourRecord:
    nothing = ContributionsInfo(**dict.fromkeys(WeightInputs._fields, 0))
    trade = TradeInfo(
        index=0,
        buyer=_address(buyer),
        buyer_name=buyer,
        seller=_address("sun"),
        seller_name="sun",
        price_uyuan_per_kwh=500_000,
        volume_wh=agreed_wh,
        bid=PartyInfo(order_id=0, node_type="consumer", credit_upt=0, position="lane"),
        offer=PartyInfo(order_id=1, node_type="producer", credit_upt=0, position="main"),
        weights=WeightsInfo(w_ppm=0, bid_ppm=0, offer=nothing, bid=nothing),
    )
    result = ResultInfo(slot=1, block="ab", quorum=2, sealers=2, signed=(), silent=())
    gate = GateInfo(height=1, block="ab", result_root="cd", trade_count=1, status="settled")
    cut = CurtailmentInfo(index=0, accepted_wh=accepted_wh, line="lane")
    digests = [
        RecordedDigest(source=source, kind=kind, period=period, height=1, block="ab", digest=f"{kind}-{period}")
        for source, kind in (("du1", "power"), ("du1", "actual"), ("jy1", "delivered"))
    ]
    return HourRecord(
        trades=TradesInfo(period=period, gate=gate, result=result, trades=(trade,)),
        settlement=SettlementInfo(period=period, trades=(settled,), grid=rest),
        schedule=SchedulingInfo(
            period=period,
            plan=(),
            quotas=(_make_quota("main", 40_000, 20_000, 20_000), _make_quota("lane", 6_000, 0, 30_000)),
            curtailments=(cut,) if accepted_wh < agreed_wh else (),
            contracts=(_make_contract(trade, accepted_wh),),
            power=DigestInfo(height=1, root=f"power-{period}", contracts=1, energy_wh=accepted_wh),
            actual=DigestInfo(height=2, root=f"actual-{period}", contracts=1, energy_wh=settled.traded_wh),
        ),
        digests=tuple(digests),
    )


def _make_quota(line: str, demand_wh: int, supply_wh: int, wheeling: int) -> LineQuotaInfo:
    return LineQuotaInfo(line=line, demand_wh=demand_wh, supply_wh=supply_wh, wheeling_uyuan_per_kwh=wheeling)


def _make_contract(trade: TradeInfo, accepted_wh: int) -> ContractInfo:
    return ContractInfo(
        index=trade.index,
        buyer=trade.buyer,
        buyer_name=trade.buyer_name,
        seller=trade.seller,
        seller_name=trade.seller_name,
        price_uyuan_per_kwh=trade.price_uyuan_per_kwh,
        accepted_wh=accepted_wh,
        consumption_wh=None,
        output_wh=None,
    )


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


# --- chains --------------------------------------------------------------------------------------


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


def _make_accounts(balances_uyuan: Mapping[str, int]) -> dict[str, AccountInfo]:
    credits = {"grid": 90, "sun": 90, "anna": 100, "bert": 100}
    return {name: _make_account(name, balances_uyuan.get(name, 0), credit) for name, credit in credits.items()}


def _make_status(kind: Kind, head: str = "aa") -> ChainStatus:
    return ChainStatus(
        chain=NAMES[kind],
        chain_id="00",
        kind=kind,
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


def _deliver(height: int, period: int, buyer: str, agreed_wh: int, used_wh: int, made_wh: int) -> Message:
    row = (0, KEYS[buyer].address, KEYS["sun"].address, agreed_wh, used_wh, made_wh)
    return Message(height=height, source="jy1", kind="delivered", number=period, rows=(row,))


def _tell(height: int, period: int, **credits: int) -> Message:
    rows = tuple((KEYS[name].address, credit * POINT) for name, credit in credits.items())
    return Message(height=height, source="lh1", kind="credit", number=period, rows=rows)


def _make_chains() -> dict[Kind, ChainRecord]:
    balances = {"grid": 3_765_000, "sun": 6_820_000, "anna": -5_390_000, "bert": -5_195_000}
    told = (_tell(3, 8, sun=80, anna=100), _tell(5, 9, sun=90, anna=100, bert=100))
    heard = (_deliver(2, 5, "anna", 10_000, 10_000, 8_000), _deliver(4, 6, "bert", 4_000, 4_000, 6_000))
    index_blocks = (
        _make_block(0, 0, None, 0),
        _make_block(1, 7_000, "sun", 90),
        _make_block(2, 7_300, "anna", 90),  # hears of hour 0: sun 80, anna 100
        _make_block(3, 8_000, "sun", 90),  # first of period 8: tells of that
        _make_block(4, 8_300, "sun", 80),  # hears of hour 1: sun 90, bert 100
        _make_block(5, 9_000, "anna", 100),  # first of period 9: tells of that
        _make_block(6, 9_300, "sun", 90),
    )
    blocks = (
        _make_block(0, 0, None, 0),
        _make_block(1, 6_500, "sun", 90),
        _make_block(2, 8_050, "anna", 90),  # first of period 8
        _make_block(3, 8_500, "sun", 90),  # takes in the credits after hour 0
        _make_block(4, 9_050, "sun", 90),  # first of period 9: makes them count
        _make_block(5, 9_500, "anna", 100),  # takes in the credits after hour 1
        _make_block(6, 10_100, "sun", 80),  # first of period 10
        _make_block(7, 10_200, "sun", 90),
    )
    return {
        kind: ChainRecord(
            genesis=_make_genesis(kind),
            blocks=index_blocks if kind == "credit" else blocks,
            messages=heard if kind == "credit" else told,
            accounts=_make_accounts(balances if kind == "trading" else {}),
        )
        for kind in KINDS
    }


def _make_peer(name: str, **heads: str) -> NodeRecord:
    return NodeRecord(name=name, chains={kind: _make_status(kind, heads.get(kind, "aa")) for kind in KINDS})


@pytest.fixture
def record() -> DayRecord:
    rest = GridSettlementInfo(
        member=_address("bert"),
        member_name="bert",
        consumption_wh=5_000,
        output_wh=0,
        pays_uyuan=3_075_000,
        receives_uyuan=0,
    )
    return DayRecord(
        chains=_make_chains(),
        seed=1,
        first_period=FIRST,
        hours_ms=(HOUR_0_MS, HOUR_0_MS + 3_600_000),
        hours=(
            _make_hour(FIRST, "anna", 10_000, 10_000, _make_settled("anna", 10_000, 8_000, 5_390_000, 4_000_000), rest),
            _make_hour(FIRST + 1, "bert", 6_000, 4_000, _make_settled("bert", 4_000, 6_000, 2_120_000, 2_820_000)),
        ),
        timeline={
            FIRST: {"quota": 1_100, "gate": 3_050, "settlement": 6_800},
            FIRST + 1: {"quota": 2_300, "gate": 4_150, "settlement": 7_900},
        },
        assets={
            name: AssetsInfo(address=_address(name), name=name, coins=coins, credit_upt=credit * POINT, newest=())
            for name, coins, credit in (("sun", 2, 180), ("anna", 1, 100), ("bert", 1, 100))
        },
        peers=(_make_peer("sun"), _make_peer("anna")),
        sent=7,
        lost=(),
        refused=(),
        problems=(),
        proofs=(
            ProofRecord(what="a trade", statement="sun sold 10 kWh to anna"),
            ProofRecord(what="an account", statement="sun has 90 points"),
        ),
        duration_ms=9_300,
    )


def _replace_chain(record: DayRecord, kind: Kind, **changes: object) -> DayRecord:
    chain = replace(record.chains[kind], **changes)  # type: ignore[arg-type]
    return replace(record, chains={**record.chains, kind: chain})


def _replace_account(record: DayRecord, kind: Kind, name: str, **changes: int) -> DayRecord:
    accounts = record.chains[kind].accounts
    account = replace(accounts[name], **changes)
    return _replace_chain(record, kind, accounts={**accounts, name: account})


def _replace_hour(record: DayRecord, **changes: object) -> DayRecord:
    """The day with another hour 1."""
    return replace(record, hours=(record.hours[0], replace(record.hours[1], **changes)))  # type: ignore[arg-type]


# --- values --------------------------------------------------------------------------------------


def test_hours(record: DayRecord) -> None:
    first, second = summarise_hours(record)
    assert (first.trades, first.volume_wh, first.mean_uyuan_per_kwh) == (1, 10_000, 500_000)
    assert (first.consumed_wh, first.produced_wh) == (15_000, 8_000)
    assert (second.low_uyuan_per_kwh, second.high_uyuan_per_kwh) == (500_000, 500_000)
    assert (second.volume_wh, second.accepted_wh) == (6_000, 4_000)


def test_nothing_is_accepted_in_a_void_hour(record: DayRecord) -> None:
    trades = record.hours[1].trades
    void = _replace_hour(record, trades=replace(trades, gate=replace(trades.gate, status="void")))
    assert summarise_hours(void)[1].accepted_wh == 0
    assert make_document(void)["trades"][1]["accepted_wh"] == 0


@pytest.mark.parametrize(
    ("status", "curtailments", "seen", "reason"),
    [
        ("void", None, {}, "jy1 did not certify its trade list"),
        ("void", None, {"certificate": 5_400}, "jy1 certified its trade list 400 ms after du1's verdict was due"),
        (
            "void",
            None,
            {"certificate": 4_500},
            "du1 gave no verdict in the 500 ms after jy1 had certified its trade list",
        ),
        ("void", (), {"certificate": 4_500, "verdict": 4_900}, "du1's verdict did not reach jy1 in time"),
        ("lapsed", (), {"metered": 8_000}, "the readings did not reach jy1 in time"),
        ("lapsed", (), {}, "no meter was read in time"),
        ("settled", (), {}, None),
    ],
)
def test_why_an_hour_came_to_nothing(
    record: DayRecord,
    status: str,
    curtailments: tuple[CurtailmentInfo, ...] | None,
    seen: dict[str, int],
    reason: str | None,
) -> None:
    trades, schedule = record.hours[1].trades, record.hours[1].schedule
    assert schedule is not None
    failed = replace(
        _replace_hour(
            record,
            trades=replace(trades, gate=replace(trades.gate, status=status)),
            schedule=replace(schedule, curtailments=curtailments),
        ),
        timeline={FIRST + 1: seen},
    )
    assert [entry.reason for entry in summarise_hours(failed)] == [None, reason]
    assert make_document(failed)["hours"][1]["reason"] == reason
    assert ("Hours without a delivery" in render_text(failed)) == (reason is not None)
    assert reason is None or reason in render_markdown(failed, has_plot=False)


def test_lines(record: DayRecord) -> None:
    main, lane = summarise_lines(record)
    assert (main.listed_wh, main.curtailed_wh) == (0, 0), "sun and anna are at one bus, and bert's way starts there"
    assert (lane.listed_wh, lane.accepted_wh, lane.curtailed_wh) == (6_000, 4_000, 2_000)
    assert (lane.demand_quota_wh, lane.wheeling_uyuan_per_kwh) == (6_000, 30_000)


def test_who_paid_whom(record: DayRecord) -> None:
    assert compute_payments(record) == {
        ("anna", "sun"): 4_000_000,  # 8 kWh at 0.50
        ("anna", GRID_COMPANY): 1_390_000,  # wheeling on 8, retail for 2
        ("bert", GRID_COMPANY): 3_075_000 + 120_000,
        ("bert", "sun"): 2_000_000,
        (GRID_COMPANY, "sun"): 820_000,  # feed-in for 2
    }


def test_the_nets_sum_to_zero(record: DayRecord) -> None:
    nets = compute_nets(compute_payments(record))
    assert nets == {"sun": 6_820_000, "anna": -5_390_000, "bert": -5_195_000, GRID_COMPANY: 3_765_000}
    assert sum(nets.values()) == 0


def test_credits_after_each_hour_follow_from_what_was_accepted(record: DayRecord) -> None:
    history = compute_credits(record)
    points: Mapping[str, list[int]] = {
        name: [value // POINT for value in values] for name, values in history.by_player.items()
    }
    assert points == {"sun": [90, 80, 90], "anna": [90, 100, 100], "bert": [90, 90, 100]}
    assert history.deliveries == {"sun": 2, "anna": 1, "bert": 1}


def test_a_snapshot_counts_from_the_block_after_a_period_s_first(record: DayRecord) -> None:
    in_force = {kind: [entry["sun"] // POINT for entry in replay(record, kind).in_force] for kind in KINDS}
    assert in_force["trading"] == in_force["scheduling"] == [90, 90, 90, 90, 80, 80, 90]
    assert in_force["credit"] == [90, 90, 90, 80, 80, 90]


def test_lh1_tells_of_whom_it_has_scored(record: DayRecord) -> None:
    posted = replay(record, "credit").posted
    points = {period: {name: value // POINT for name, value in rows.items()} for period, rows in posted.items()}
    assert points == {8: {"sun": 80, "anna": 100}, 9: {"sun": 90, "anna": 100, "bert": 100}}


def test_an_old_snapshot_that_comes_late_changes_nothing(record: DayRecord) -> None:
    late = (*record.trading.messages, _tell(6, 8, sun=10))
    assert replay(_replace_chain(record, "trading", messages=late), "trading").final["sun"] == 90 * POINT


def test_expected_blocks_follow_the_snapshots(record: DayRecord) -> None:
    sun, anna = count_sealed(record.trading, replay(record, "trading").in_force)
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


@pytest.mark.parametrize("kind", KINDS)
def test_peers_that_differ_on_one_chain_fail(record: DayRecord, kind: Kind) -> None:
    other = _make_peer("anna", **{kind: "dd"})
    assert _failed(replace(record, peers=(record.peers[0], other))) == ["one head per chain"]


@pytest.mark.parametrize("status", ["void", "lapsed", "open"])
def test_an_hour_that_is_not_settled_fails(record: DayRecord, status: str) -> None:
    trades = record.hours[1].trades
    other = replace(trades, gate=replace(trades.gate, status=status))
    assert _failed(_replace_hour(record, trades=other)) == ["every hour settled"]


def test_a_lost_transaction_fails(record: DayRecord) -> None:
    assert _failed(replace(record, lost=("ab" * 32,))) == ["every transaction took effect"]
    assert _failed(replace(record, problems=("anna: gone",))) == ["every transaction took effect"]
    late = replace(record, problems=("dispatch: plans were due before 1795187910624 ms",))
    (check,) = (check for check in run_checks(late) if not check.passed)
    assert check.detail == "dispatch: plans were due before 2026-11-20 15:18:30 UTC"


def test_a_verdict_that_overloads_a_line_fails(record: DayRecord) -> None:
    schedule = record.hours[1].schedule
    assert schedule is not None
    contract = replace(schedule.contracts[0], accepted_wh=6_000)
    generous = replace(schedule, curtailments=(), contracts=(contract,))
    assert "lines hold" in _failed(_replace_hour(record, schedule=generous))


def test_a_contract_of_another_volume_fails(record: DayRecord) -> None:
    schedule = record.hours[1].schedule
    assert schedule is not None
    bent = replace(schedule, contracts=(replace(schedule.contracts[0], accepted_wh=3_999),))
    assert _failed(_replace_hour(record, schedule=bent)) == ["lines hold"]


def test_more_than_a_line_s_quota_fails(record: DayRecord) -> None:
    schedule = record.hours[1].schedule
    assert schedule is not None
    tight = (schedule.quotas[0], replace(schedule.quotas[1], demand_wh=5_999))
    assert _failed(_replace_hour(record, schedule=replace(schedule, quotas=tight))) == ["lines hold"]


def test_the_wheeling_price_of_another_area_fails(record: DayRecord) -> None:
    schedule = record.hours[1].schedule
    assert schedule is not None
    dear = (schedule.quotas[0], replace(schedule.quotas[1], wheeling_uyuan_per_kwh=31_000))
    failed = _failed(_replace_hour(record, schedule=replace(schedule, quotas=dear)))
    assert failed == ["settlements follow the tariffs"]


def test_a_micro_yuan_too_many_fails(record: DayRecord) -> None:
    balance_uyuan = record.trading.accounts["anna"].balance_uyuan + 1
    bent = _replace_account(record, "trading", "anna", balance_uyuan=balance_uyuan)
    assert _failed(bent) == ["balances match"]


def test_legs_that_do_not_sum_to_zero_fail(record: DayRecord) -> None:
    settlement = record.hours[1].settlement
    row = settlement.trades[0]
    bent = replace(settlement, trades=(replace(row, grid_receives_uyuan=row.grid_receives_uyuan + 1),))
    failed = _failed(_replace_hour(record, settlement=bent))
    assert failed == ["settlements follow the tariffs", "payments sum to zero"]


def test_a_credit_out_of_nowhere_fails(record: DayRecord) -> None:
    assert _failed(_replace_account(record, "credit", "bert", credit_upt=99 * POINT)) == ["credits match"]


@pytest.mark.parametrize("kind", ["trading", "scheduling"])
def test_a_chain_that_holds_another_credit_than_it_was_told_fails(record: DayRecord, kind: Kind) -> None:
    assert _failed(_replace_account(record, kind, "bert", credit_upt=99 * POINT)) == ["snapshots match"]


def test_a_snapshot_that_lh1_did_not_take_fails(record: DayRecord) -> None:
    forged = (record.trading.messages[0], _tell(5, 9, sun=90, anna=100, bert=99))
    bent = _replace_account(record, "trading", "bert", credit_upt=99 * POINT)
    assert _failed(_replace_chain(bent, "trading", messages=forged)) == ["snapshots match"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_with_another_credit_fails(record: DayRecord, kind: Kind) -> None:
    blocks = record.chains[kind].blocks
    bent = (*blocks[:5], replace(blocks[5], credit_upt=95 * POINT), *blocks[6:])
    assert _failed(_replace_chain(record, kind, blocks=bent)) == ["headers claim their credit"]


@pytest.mark.parametrize("kind", ["power", "actual", "delivered"])
def test_a_digest_that_lh1_lacks_fails(record: DayRecord, kind: str) -> None:
    digests = tuple(digest for digest in record.hours[1].digests if digest.kind != kind)
    assert _failed(_replace_hour(record, digests=digests)) == ["digests match"]


def test_a_proof_that_does_not_hold_fails(record: DayRecord) -> None:
    proofs = (ProofRecord(what="a trade", problem="InvalidProof"), record.proofs[1])
    assert _failed(replace(record, proofs=proofs)) == ["a trade proved offline"]


def test_an_hour_without_a_gate_fails_and_the_report_still_stands(record: DayRecord, tmp_path: Path) -> None:
    short = replace(record, hours=record.hours[1:])
    assert "every hour settled" in _failed(short)
    assert summarise_hours(short)[0].hour == 1
    assert "FAILED" in render_text(short)
    draw_day(short, tmp_path / "day.png")


def test_a_day_on_which_nothing_was_seen_has_a_report(record: DayRecord, tmp_path: Path) -> None:
    blank = replace(record, hours=(), timeline={}, proofs=())
    assert "FAILED" in render_text(blank)
    assert make_document(blank)["timeline"] == {"stages": [], "hours": []}
    draw_day(blank, tmp_path / "day.png")


# --- documents -----------------------------------------------------------------------------------


def test_text_and_markdown_hold_the_same_tables(record: DayRecord) -> None:
    text, markdown = render_text(record), render_markdown(record, has_plot=True)
    for word in ("Trades by hour", "Period timeline", "Curtailed trades", "Who paid whom", "6.820000", "one head"):
        assert word in text
        assert word in markdown
    assert "![" in markdown
    assert "![" not in render_markdown(record, has_plot=False)


def test_the_text_fits_a_terminal(record: DayRecord) -> None:
    long = replace(record, problems=("a player, " + "word " * 60,))
    assert max(map(len, render_text(long).splitlines())) <= 100


def test_the_text_fits_a_narrow_terminal(record: DayRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = render_text(replace(record, problems=("word " * 60,))).splitlines()
    assert max(map(len, lines)) <= 80
    words = [line.count("word") for line in lines if "word" in line]
    assert words == [words[0]] * (len(words) - 1) + [60 % words[0] or words[0]], "broken once, not twice"


def test_the_document_is_json_of_integers_in_small_units(record: DayRecord) -> None:
    document = json.loads(json.dumps(make_document(record)))
    assert document["passed"] is True
    assert document["net_uyuan"]["sun"] == 6_820_000
    assert document["credit_upt"]["sun"] == [90 * POINT, 80 * POINT, 90 * POINT]
    assert document["trades"][0]["volume_wh"] == 10_000
    assert (document["trades"][1]["accepted_wh"], document["trades"][1]["curtailed_by"]) == (4_000, "lane")


def test_the_timeline_counts_from_the_start_of_delivery(record: DayRecord) -> None:
    stages = {row["stage"]: row for row in make_document(record)["timeline"]["stages"]}
    gate = stages["gate"]
    assert (gate["earliest_ms"], gate["mean_ms"], gate["latest_ms"], gate["hours"]) == (-1_950, -1_900, -1_850, 2)
    assert gate["due_ppm"] == -2_000_000
    assert "-1.90" in render_text(record)


def test_the_plot_is_a_png(record: DayRecord, tmp_path: Path) -> None:
    draw_day(record, tmp_path / "day.png")
    assert (tmp_path / "day.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_without_matplotlib_the_plot_says_what_is_missing(
    record: DayRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra):
        draw_day(record, tmp_path / "day.png")
