"""DU1's contract: plans and quotas, the verdict on JY1's trade list, meters, and what goes to the other chains.

The feeder, with capacities in kWh, and who is at the far ends of its lines:

    substation ──north 100── ──mill 50──  carol
              │             └──farm 40──  rosa ── barn 20 ──  paul
              └──south 80──  chen
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.accounts import get_account
from ledger.contract import BlockContext, Contracts
from ledger.errors import GridmeritError
from ledger.execution import Execution, compute_period, execute_body
from ledger.genesis import Genesis, GenesisMember, build_state
from ledger.inbox import InboundMessage, receive
from ledger.merkle import EMPTY_ROOT, leaf_hash, node_hash
from ledger.outbox import ROWS_PER_PART, get_entries, outbox_key
from ledger.overlay import Event, Overlay
from ledger.params import Area, ChainParams, LedgerParams, Line, MarketParams, SchedulingParams
from ledger.state import State
from ledger.transaction import make_transaction
from market.metering import MAX_ENERGY_WH
from market.scheduling.contract import (
    PLANNED_AHEAD,
    SchedulingTimes,
    compute_scheduling_times,
    scheduling_handlers,
    scheduling_hooks,
    scheduling_routes,
)
from market.scheduling.feeder import LinePlan, LineQuota
from market.scheduling.records import (
    RETAINED,
    ActualTransaction,
    BilateralContract,
    PowerBlock,
    encode_actual_leaf,
    encode_contract_leaf,
)
from market.scheduling.views import (
    get_actual_block,
    get_actuals,
    get_contracts,
    get_plan,
    get_power_block,
    get_quotas,
    get_verdict,
    live_periods,
)
from market.trading.trades import Curtailment, TradeRecord
from tests.support.keys import address, key_of

KWH = 1_000
PERIOD = 10  # the delivery period of every test that does not say otherwise
PERIOD_MS = 1_000
GENESIS_MS = 1_700_000_000_000
CAPACITY_WH = 400 * KWH
PRICE = 500_000
TRADERS = {"carol": "mill", "chen": "south", "paul": "barn", "rosa": "farm", "luna": "moon"}
PLAN = (("mill", 90 * KWH, 0), ("south", 30 * KWH, 5 * KWH), ("barn", 0, 30 * KWH), ("farm", 10 * KWH, 20 * KWH))

DU1 = ChainParams(
    name="DU1",
    kind="scheduling",
    ledger=LedgerParams(period_ms=PERIOD_MS),
    scheduling=SchedulingParams(
        areas=(Area(name="hill", wheeling_uyuan_per_kwh=20_000), Area(name="vale", wheeling_uyuan_per_kwh=35_000)),
        lines=(
            Line(name="north", area="hill", capacity_wh=100 * KWH),
            Line(name="mill", upstream="north", area="hill", capacity_wh=50 * KWH),
            Line(name="farm", upstream="north", area="vale", capacity_wh=40 * KWH),
            Line(name="barn", upstream="farm", area="vale", capacity_wh=20 * KWH),
            Line(name="south", area="vale", capacity_wh=80 * KWH),
        ),
    ),
)
JY1 = ChainParams(name="JY1", ledger=LedgerParams(period_ms=PERIOD_MS))
LH1 = ChainParams(name="LH1", kind="credit", ledger=LedgerParams(period_ms=PERIOD_MS))


MARKET_TWICE = MarketParams(
    open_ppm=4_000_000, gate_ppm=3_000_000, intraday_open_ppm=2_000_000, intraday_gate_ppm=1_000_000
)
CLOCK_TWICE = {"quota_ppm": 3_500_000, "intraday_quota_ppm": 2_500_000, "verdict_ppm": 500_000}


def found_members() -> tuple[GenesisMember, ...]:
    staff = [("grid", "grid-operator"), ("dispatch", "dispatcher"), ("audit", "auditor")]
    return (
        *(GenesisMember(name=name, role=role, key=key_of(name).public_key, seals=True) for name, role in staff),
        *(
            GenesisMember(
                name=name, role="prosumer", key=key_of(name).public_key, capacity_wh=CAPACITY_WH, position=line
            )
            for name, line in TRADERS.items()
        ),
        *(
            GenesisMember(name=f"meter-{name}", role="device", key=key_of(f"meter-{name}").public_key, owner=name)
            for name in TRADERS
        ),
    )


def hand_over(view, block, transaction):
    """Do what the relay contract does with a message whose proof it has checked; a producer's kind, as relays are."""
    source, kind, number, part, parts, rows = transaction.payload
    is_complete = receive(view, "JY1", kind, number, part, parts)
    delivery = InboundMessage(
        source="JY1",
        kind=kind,
        number=number,
        part=part,
        parts=parts,
        rows=rows,
        is_complete=is_complete,
        block_hash=bytes(32),
        height=1,
    )
    scheduling_routes()[source, kind](view, block, delivery)


CONTRACTS = Contracts(
    handlers=scheduling_handlers(), producer_handlers={"hand-over": hand_over}, hooks=scheduling_hooks()
)


class Grid:
    """DU1 beside its siblings; whatever is submitted goes into a block at `now_ms`."""

    def __init__(self, *siblings: ChainParams, market: MarketParams = DU1.market, **scheduling: int) -> None:
        clock = DU1.scheduling.model_copy(update=scheduling)
        self.params = DU1.model_copy(update={"scheduling": clock, "market": market})
        genesis = Genesis(params=self.params, time_ms=GENESIS_MS, members=found_members(), siblings=siblings)
        self.siblings = frozenset(sibling.kind for sibling in siblings)
        self.chain_id = genesis.chain_id
        self.state: State = build_state(genesis)
        self.height = self.period = 0
        self.now_ms = GENESIS_MS + 1

    # --- time ------------------------------------------------------------------------------------

    def times(self, period: int = PERIOD) -> SchedulingTimes:
        return compute_scheduling_times(period, self.params, GENESIS_MS)

    def go(self, instant: str, period: int = PERIOD, *, late_ms: int = 0) -> tuple[Event, ...]:
        """Make an empty block at "quota", "verdict", "delivery_end" or "meter"; its events."""
        self.now_ms = getattr(self.times(period), f"{instant}_ms") + late_ms
        return self.make_block().events

    # --- writing ---------------------------------------------------------------------------------

    def make_block(self, *calls: tuple[str, str, tuple[object, ...]]) -> Execution:
        """A block of transactions (sender, kind, payload) at `now_ms`; raises where it cannot stand."""
        period = compute_period(self.now_ms, genesis_time_ms=GENESIS_MS, period_ms=PERIOD_MS, parent_period=self.period)
        context = BlockContext(
            params=self.params,
            chain_id=self.chain_id,
            genesis_time_ms=GENESIS_MS,
            height=self.height + 1,
            parent=self.height.to_bytes(32, "big"),
            producer=address("grid"),
            timestamp_ms=self.now_ms,
            period=period,
            is_first_of_period=period > self.period,
            siblings=self.siblings,
        )
        transactions, spent = [], {}
        for sender, kind, payload in calls:
            sequence = 0 if kind == "hand-over" else spent.get(sender, self.sequence(sender))
            spent[sender] = sequence + 1
            transaction = make_transaction(
                key_of(sender),
                chain_id=self.chain_id,
                sequence=sequence,
                expiry_height=context.height,
                kind=kind,
                payload=payload,
            )
            transactions.append(transaction)
        execution = execute_body(self.state, context, transactions, CONTRACTS)
        self.state, self.height, self.period = execution.state, context.height, period
        return execution

    def submit(self, sender: str, kind: str, *payload: object) -> str:
        """The receipt's error code, empty where the transaction took effect."""
        return self.make_block((sender, kind, payload)).receipts[0].code

    def plan(self, *rows: tuple[str, int, int], period: int = PERIOD, sender: str = "dispatch") -> str:
        return self.submit(sender, "plan", period, rows or PLAN)

    def read(self, owner: str, *, consumed: int = 0, produced: int = 0, period: int = PERIOD) -> str:
        return self.submit(f"meter-{owner}", "reading", period, consumed, produced)

    def register(self, owner: str, *, consumed: int = 0, produced: int = 0, period: int = PERIOD) -> str:
        return self.submit(f"meter-{owner}", "register", period, consumed, produced)

    def go_on(self) -> tuple[Event, ...]:
        """The first block of the next period; its events."""
        self.now_ms = GENESIS_MS + (self.period + 1) * PERIOD_MS
        return self.make_block().events

    def report(self, *rows: object, period: int = PERIOD, part: int = 0, parts: int = 1) -> str:
        """Relay a part of JY1's trade list; the error's code where it cannot stand in a block and so moves nothing."""
        before = self.state.root
        try:
            self.make_block(("grid", "hand-over", ("trading", "result", period, part, parts, rows)))
        except GridmeritError as error:
            assert self.state.root == before
            return error.code
        return ""

    # --- reading ---------------------------------------------------------------------------------

    def sequence(self, name: str) -> int:
        return get_account(Overlay(self.state), address(name)).sequence

    def posted(self, kind: str, period: int = PERIOD) -> list[object] | None:
        """The rows of a message in the outbox, None where there is none."""
        entries = get_entries(Overlay(self.state))
        entry = next((entry for entry in entries if entry[:2] == (kind, period)), None)
        if entry is None:
            return None
        view = Overlay(self.state)
        return [row for part in range(entry.parts) for row in view.get(outbox_key(kind, period, part))[1]]


def trade(index: int, seller: str, buyer: str, kwh: int, *, period: int = PERIOD) -> tuple[object, ...]:
    """A row of JY1's trade list."""
    return TradeRecord(period, index, address(buyer), address(seller), PRICE, kwh * KWH).to_value()


@pytest.fixture
def grid() -> Grid:
    """DU1 beside JY1 and LH1, long before the period's quotas are due."""
    return Grid(JY1, LH1)


@pytest.fixture
def planned(grid: Grid) -> Grid:
    """With the period planned, and its quotas out."""
    assert grid.plan() == ""
    grid.go("quota")
    return grid


@pytest.fixture
def delivered(planned: Grid) -> Grid:
    """At the end of delivery; paul sells 15 kWh to carol and 5 to chen, rosa sells 10 to carol."""
    assert (
        planned.report(trade(0, "paul", "carol", 15), trade(1, "rosa", "carol", 10), trade(2, "paul", "chen", 5)) == ""
    )
    planned.go("delivery_end")
    return planned


# --- step 1: plans and quotas ------------------------------------------------------------------------


def test_quotas_follow_from_the_plan_three_periods_before_delivery(grid):
    assert grid.plan() == ""
    assert live_periods(grid.state) == (PERIOD,)
    assert grid.go("quota", late_ms=-1) == ()
    assert get_quotas(grid.state, PERIOD) == []
    assert grid.times().quota_ms == GENESIS_MS + (PERIOD - 3) * PERIOD_MS
    events = grid.go("quota")
    quotas = [
        LineQuota("north", 0, 0, 20_000),
        LineQuota("mill", 50 * KWH, 0, 20_000),
        LineQuota("farm", 10 * KWH, 20 * KWH, 35_000),
        LineQuota("barn", 0, 20 * KWH, 35_000),
        LineQuota("south", 30 * KWH, 5 * KWH, 35_000),
    ]
    assert get_quotas(grid.state, PERIOD) == quotas
    assert grid.posted("quota") == quotas
    assert events == (("quota", PERIOD, 5, 90 * KWH, 45 * KWH),)
    assert grid.make_block().events == ()


def test_a_later_plan_replaces_the_lines_it_names(grid):
    grid.plan(("mill", 10, 20), ("barn", 30, 40))
    execution = grid.make_block(("grid", "plan", (PERIOD, (("barn", 5, 6), ("south", 7, 8)))))
    assert execution.events == (("plan", PERIOD, address("grid"), 2, 12, 14),)
    assert get_plan(grid.state, PERIOD) == [LinePlan("barn", 5, 6), LinePlan("mill", 10, 20), LinePlan("south", 7, 8)]


def test_a_period_without_a_plan_has_no_quotas(grid):
    assert grid.go("quota") == ()
    assert grid.posted("quota") is None
    assert live_periods(grid.state) == ()


def test_only_a_dispatcher_or_the_grid_operator_plans(grid):
    assert grid.plan(sender="grid") == ""
    assert grid.plan(sender="audit") == "NotADispatcher"
    assert grid.plan(sender="carol") == "NotADispatcher"
    assert grid.plan(sender="meter-carol") == "NotADispatcher"


def test_only_lines_of_the_feeder_are_planned(grid):
    assert grid.plan(("mill", 1, 1), ("moon", 1, 1)) == "UnknownLine"
    assert get_plan(grid.state, PERIOD) == []


def test_a_plan_comes_before_the_quotas_are_due(grid):
    grid.now_ms = grid.times().quota_ms
    assert grid.plan() == "PlanTooLate"
    grid.now_ms -= 1
    assert grid.plan() == ""


def test_a_block_dated_back_does_not_reopen_the_plan(planned):
    planned.now_ms -= 1
    assert planned.plan() == "PlanTooLate"
    planned.go("meter")
    planned.now_ms = planned.times().quota_ms - 1
    assert planned.plan() == "PlanTooLate"


def test_nobody_plans_too_far_ahead(grid):
    last = 3 + PLANNED_AHEAD
    assert grid.plan(period=last + 1) == "PlanTooEarly"
    assert grid.plan(period=2**63 - 1) == "PlanTooEarly"
    assert grid.plan(period=last) == ""


@pytest.mark.parametrize(
    "payload",
    [
        (),
        (PERIOD,),
        (PERIOD, PLAN, 1),
        (-1, PLAN),
        (PERIOD, 7),
        (PERIOD, ()),
        (PERIOD, (("mill", 1),)),
        (PERIOD, (("mill", -1, 1),)),
        (PERIOD, (("mill", 1, MAX_ENERGY_WH + 1),)),
        (PERIOD, ((b"mill", 1, 1),)),
        (PERIOD, (("mill", 1, 1), ("mill", 1, 1))),
    ],
)
def test_a_plan_of_another_shape_is_refused(grid, payload):
    assert grid.submit("dispatch", "plan", *payload) == "WrongShape"


def test_a_plan_names_no_more_lines_than_there_are(grid):
    assert grid.plan(*[("mill", 1, 1)] * 6) == "TooLarge"
    assert grid.plan(("m" * 65, 1, 1)) == "TooLarge"


def test_a_late_block_still_publishes_quotas_before_the_verdict_is_due(grid):
    grid.plan()
    assert grid.go("verdict", late_ms=-1) == (("quota", PERIOD, 5, 90 * KWH, 45 * KWH),)


def test_a_plan_lapses_where_no_block_comes_before_the_verdict_is_due(grid):
    grid.plan()
    assert grid.go("verdict") == (("plan-lapsed", PERIOD),)
    assert grid.posted("quota") is None
    assert get_plan(grid.state, PERIOD) == []
    assert live_periods(grid.state) == ()


def test_a_chain_that_was_down_does_what_is_due_in_order_of_periods(grid):
    for period in (10, 12, 14):
        grid.plan(period=period)
    grid.go("quota", 10)
    assert grid.report(trade(0, "paul", "carol", 1)) == ""
    # 10 is to be metered, 12 has missed its verdict, 14 is due for its quotas
    assert grid.go("meter", 10, late_ms=200) == (
        ("unmetered", 10),
        ("plan-lapsed", 12),
        ("quota", 14, 5, 90 * KWH, 45 * KWH),
    )
    assert live_periods(grid.state) == (14,)


def test_all_quotas_of_a_day_ahead_that_are_due_together_are_posted():
    # plans for 12 periods ── (no block) ── one block, in which all of their quotas are due and none is too late
    grid = Grid(JY1, quota_ppm=24_000_000)
    periods = range(30, 42)
    grid.make_block(*[("dispatch", "plan", (period, PLAN)) for period in periods])
    grid.go("quota", periods[-1])
    assert [entry.number for entry in get_entries(Overlay(grid.state)) if entry.kind == "quota"] == list(periods)
    for period in periods:
        assert grid.report(trade(0, "paul", "carol", 1, period=period), period=period) == ""
    assert [entry.number for entry in get_entries(Overlay(grid.state)) if entry.kind == "verdict"] == list(periods)


# --- step 3: the verdict -----------------------------------------------------------------------------


def test_a_list_that_the_lines_carry_is_accepted_whole(planned):
    assert planned.report(trade(0, "paul", "carol", 15), trade(1, "chen", "carol", 30)) == ""
    assert get_verdict(planned.state, PERIOD) == []
    assert planned.posted("verdict") == []
    assert [contract.accepted_wh for contract in get_contracts(planned.state, PERIOD)] == [15 * KWH, 30 * KWH]


@pytest.mark.parametrize(("trades", "is_at_once"), [(3, True), (12, False)])
def test_by_shares_the_block_that_completes_a_list_gives_the_verdict_if_it_has_work_left(trades, is_at_once):
    grid = Grid(JY1, LH1, market=MarketParams(work_per_block=64))
    assert grid.plan() == ""
    grid.go("quota")
    assert grid.report(*[trade(index, "chen", "carol", 1) for index in range(trades)]) == ""
    assert (get_verdict(grid.state, PERIOD) is not None) == is_at_once
    grid.make_block()
    assert get_verdict(grid.state, PERIOD) == []
    assert len(get_contracts(grid.state, PERIOD)) == trades


def test_a_trade_over_line_capacity_is_curtailed_with_the_line_as_reason(planned):
    rows = (trade(0, "paul", "carol", 15), trade(1, "paul", "rosa", 8), trade(2, "paul", "chen", 5))
    execution = planned.make_block(("grid", "hand-over", ("trading", "result", PERIOD, 0, 1, rows)))
    curtailments = [Curtailment(1, 5 * KWH, "barn"), Curtailment(2, 0, "barn")]
    assert get_verdict(planned.state, PERIOD) == curtailments
    assert planned.posted("verdict") == curtailments
    assert execution.events == (
        ("verdict", PERIOD, 3, 2, 20 * KWH),
        ("curtailed", PERIOD, 1, 5 * KWH, "barn"),
        ("curtailed", PERIOD, 2, 0, "barn"),
    )


def test_the_power_transaction_block_holds_the_contracts_of_what_is_accepted(planned):
    rows = (trade(0, "paul", "carol", 15), trade(1, "luna", "carol", 1), trade(2, "paul", "chen", 9))
    assert planned.report(*rows) == ""
    contracts = [
        BilateralContract(PERIOD, 0, address("carol"), address("paul"), PRICE, 15 * KWH),
        BilateralContract(PERIOD, 2, address("chen"), address("paul"), PRICE, 5 * KWH),
    ]
    assert get_contracts(planned.state, PERIOD) == contracts
    root = node_hash(*[leaf_hash(encode_contract_leaf(contract)) for contract in contracts])
    assert get_power_block(planned.state, PERIOD) == PowerBlock(planned.height, root, 2, 20 * KWH)
    assert planned.posted("power") == [(root, 2, 20 * KWH)]
    assert get_verdict(planned.state, PERIOD) == [Curtailment(1, 0, "moon"), Curtailment(2, 5 * KWH, "barn")]


def test_an_empty_list_has_a_verdict_and_an_empty_power_transaction_block(planned):
    assert get_verdict(planned.state, PERIOD) is None
    assert planned.report() == ""
    assert get_verdict(planned.state, PERIOD) == planned.posted("verdict") == []
    assert planned.posted("power") == [(EMPTY_ROOT, 0, 0)]


def test_without_a_credit_chain_no_digest_is_posted():
    grid = Grid(JY1)
    grid.plan()
    grid.go("quota")
    assert grid.report(trade(0, "paul", "carol", 1)) == ""
    grid.go("delivery_end")
    assert grid.read("carol", consumed=KWH) == ""
    grid.go("meter")
    assert {entry.kind for entry in get_entries(Overlay(grid.state))} == {"quota", "verdict", "metered"}


def test_a_list_in_parts_counts_once_all_have_come_in_whatever_order(planned):
    rows = [trade(index, "paul", "carol", 1) for index in range(ROWS_PER_PART + 6)]
    before = {key for key, _ in planned.state.items()}
    assert planned.report(*rows[ROWS_PER_PART:], part=1, parts=2) == ""
    assert get_verdict(planned.state, PERIOD) is None
    assert planned.report(*rows[:ROWS_PER_PART], part=0, parts=2) == ""
    cut = [Curtailment(index, 0, "barn") for index in range(20, ROWS_PER_PART + 6)]
    assert get_verdict(planned.state, PERIOD) == planned.posted("verdict") == cut
    added = {key for key, _ in planned.state.items()} - before
    assert not any(key.startswith(b"market/") for key in added)


def test_a_list_comes_before_the_verdict_is_due(planned):
    planned.now_ms = planned.times().verdict_ms
    assert planned.report(trade(0, "paul", "carol", 1)) == "RelayTooLate"
    planned.now_ms -= 1
    assert planned.report(trade(0, "paul", "carol", 1)) == ""


def test_a_list_of_a_period_without_quotas_is_unexpected(grid):
    assert grid.report() == "UnexpectedRelay"
    grid.plan()
    assert grid.report() == "UnexpectedRelay"
    grid.go("verdict")
    grid.now_ms -= 1
    assert grid.report() == "UnexpectedRelay"


def test_a_block_dated_back_takes_no_list_once_the_metering_is_closed(planned):
    planned.go("meter")
    planned.now_ms = planned.times().verdict_ms - 1
    assert planned.report(trade(0, "paul", "carol", 1)) == "UnexpectedRelay"


def test_a_second_copy_is_refused(planned):
    assert planned.report(trade(0, "paul", "carol", 1)) == ""
    assert planned.report(trade(0, "paul", "carol", 1)) == "AlreadyRelayed"


def test_no_list_counts_after_the_verdict_whatever_the_inbox_remembers(planned):
    assert planned.report(trade(0, "paul", "carol", 1)) == ""
    forget_inbox(planned)
    assert planned.report(trade(0, "paul", "carol", 1)) == "UnexpectedRelay"


def forget_inbox(grid: Grid) -> None:
    view = Overlay(grid.state)
    for key, _ in grid.state.items():
        if key.startswith((b"i/", b"inbox/")):
            view.delete(key)
    view.commit()
    grid.state = view.finish()[0]


def stranger(index: int) -> tuple[object, ...]:
    return TradeRecord(PERIOD, index, address("mallory"), address("paul"), PRICE, KWH).to_value()


@pytest.mark.parametrize(
    ("code", "rows"),
    [
        ("UnexpectedRelay", (trade(1, "paul", "carol", 1),)),
        ("UnexpectedRelay", (trade(0, "paul", "carol", 1), trade(0, "paul", "carol", 1))),
        ("UnexpectedRelay", (trade(0, "paul", "carol", 1, period=PERIOD + 1),)),
        ("UnexpectedRelay", (stranger(0),)),
        ("WrongShape", (trade(0, "paul", "carol", 0),)),
        ("WrongShape", (trade(0, "paul", "carol", MAX_ENERGY_WH),)),
        ("WrongShape", (trade(0, "paul", "carol", 1)[:5],)),
        ("WrongShape", ((*trade(0, "paul", "carol", 1)[:5], -1),)),
        ("WrongShape", ((*trade(0, "paul", "carol", 1)[:5], 2**64 - 1),)),
        ("WrongShape", ((PERIOD, 0, b"carol", address("paul"), PRICE, KWH),)),
        ("WrongShape", (7,)),
        ("WrongShape", (None,)),
        ("TooLarge", (("x" * 1_100,),)),
    ],
)
def test_a_list_that_no_honest_member_certifies_cannot_stand_in_a_block(planned, code, rows):
    assert planned.report(*rows) == code
    assert planned.report(trade(0, "paul", "carol", 1)) == ""


def test_a_part_that_is_not_full_is_refused_unless_it_is_the_last(planned):
    assert planned.report(trade(0, "paul", "carol", 1), part=0, parts=2) == "UnexpectedRelay"
    assert planned.report(trade(ROWS_PER_PART, "paul", "carol", 1), part=1, parts=2) == ""


def test_the_credit_chain_has_a_route_too():
    assert set(scheduling_routes()) == {("trading", "result"), ("credit", "credit")}


# --- step 4: meters and the actual-transaction block -------------------------------------------------


def test_subscribers_hear_of_a_reading(delivered):
    execution = delivered.make_block(("meter-carol", "reading", (PERIOD, 18 * KWH, 0)))
    assert execution.events == (("reading", PERIOD, address("carol"), 18 * KWH, 0),)


def test_at_metering_close_the_readings_go_to_jy1_and_the_digest_to_lh1(delivered):
    delivered.read("paul", produced=16 * KWH)
    delivered.read("carol", consumed=30 * KWH)
    delivered.read("luna", consumed=2 * KWH, produced=1)
    assert delivered.go("meter", late_ms=-1) == ()
    events = delivered.go("meter")
    assert delivered.posted("metered") == [
        (address("paul"), 0, 16 * KWH),
        (address("carol"), 30 * KWH, 0),
        (address("luna"), 2 * KWH, 1),
    ]
    actuals = [  # carol's 30 as 15 : 10, paul's 16 as 15 : 5; chen's and rosa's meters were not read
        ActualTransaction(PERIOD, 0, address("carol"), address("paul"), 15 * KWH, 18 * KWH, 12 * KWH),
        ActualTransaction(PERIOD, 1, address("carol"), address("rosa"), 10 * KWH, 12 * KWH, 0),
        ActualTransaction(PERIOD, 2, address("chen"), address("paul"), 5 * KWH, 0, 4 * KWH),
    ]
    assert get_actuals(delivered.state, PERIOD) == actuals
    leaves = [leaf_hash(encode_actual_leaf(actual)) for actual in actuals]
    root = node_hash(node_hash(leaves[0], leaves[1]), leaves[2])
    assert get_actual_block(delivered.state, PERIOD) == (delivered.height, root, 3, 12 * KWH)
    assert delivered.posted("actual") == [(root, 3, 12 * KWH)]
    assert events == (("metered", PERIOD, 3), ("actual", PERIOD, 3, 12 * KWH))
    assert live_periods(delivered.state) == ()
    assert delivered.make_block().events == ()


def test_where_not_a_single_meter_was_read_nobody_is_said_to_have_delivered_nothing(delivered):
    # open ── list ── (no block while meters could be read) ── one block
    events = delivered.go("meter", late_ms=300)
    assert events == (("unmetered", PERIOD),)
    assert delivered.posted("metered") is None
    assert delivered.posted("actual") is None
    assert get_actual_block(delivered.state, PERIOD) is None
    assert get_actuals(delivered.state, PERIOD) == []
    assert len(get_contracts(delivered.state, PERIOD)) == 3
    assert live_periods(delivered.state) == ()


def test_one_reading_is_enough_for_the_others_to_count_as_nothing(delivered):
    delivered.read("luna")
    delivered.go("meter")
    assert delivered.posted("metered") == [(address("luna"), 0, 0)]
    assert [actual[-2:] for actual in get_actuals(delivered.state, PERIOD)] == [(0, 0)] * 3


def test_readings_without_contracts_are_metered_too(grid):
    grid.go("delivery_end")
    assert grid.read("carol", consumed=KWH) == ""
    grid.go("meter")
    assert grid.posted("metered") == [(address("carol"), KWH, 0)]
    assert grid.posted("actual") == [(EMPTY_ROOT, 0, 0)]


def test_of_a_period_without_trades_or_readings_only_an_empty_digest_is_posted(planned):
    assert planned.report() == ""
    assert planned.go("meter") == (("actual", PERIOD, 0, 0),)
    assert planned.posted("metered") is None
    assert planned.posted("actual") == [(EMPTY_ROOT, 0, 0)]


def test_of_a_period_whose_list_never_came_nothing_is_posted(planned):
    assert planned.go("meter") == ()
    assert planned.posted("metered") is None
    assert planned.posted("actual") is None
    assert live_periods(planned.state) == ()


def test_parts_of_a_list_that_never_became_complete_are_forgotten(planned):
    untouched = {key for key, _ in planned.state.items()}
    assert planned.report(trade(ROWS_PER_PART, "paul", "carol", 1), part=1, parts=2) == ""
    planned.go("meter")
    left = {key for key, _ in planned.state.items()} - untouched
    assert {key for key in left if not key.startswith((b"i/", b"inbox/", b"checkpoint"))} == {b"scheduling/closed"}


def test_a_reading_comes_between_the_end_of_delivery_and_metering_close(grid):
    grid.now_ms = grid.times().delivery_end_ms - 1
    assert grid.read("carol", consumed=KWH) == "ReadingTooEarly"
    grid.now_ms = grid.times().meter_ms
    assert grid.read("carol", consumed=KWH) == "ReadingTooLate"
    grid.now_ms = grid.times().meter_ms - 1
    assert grid.read("carol", consumed=KWH) == ""


def test_a_block_dated_back_does_not_reopen_the_metering(delivered):
    delivered.read("carol", consumed=KWH)
    delivered.go("meter")
    delivered.now_ms -= 1
    assert delivered.read("chen", consumed=KWH) == "ReadingTooLate"


def test_a_repeated_reading_is_a_duplicate(delivered):
    assert delivered.read("carol", consumed=KWH) == ""
    assert delivered.read("carol", consumed=KWH) == "DuplicateReading"
    assert delivered.read("chen", consumed=KWH) == ""


def test_only_a_device_reports_readings(delivered):
    assert delivered.submit("carol", "reading", PERIOD, KWH, 0) == "NotADevice"
    assert delivered.submit("dispatch", "reading", PERIOD, KWH, 0) == "NotADevice"


def test_a_reading_beyond_the_capacity_and_a_fifth_is_a_broken_meter(delivered):
    most = CAPACITY_WH * 6 // 5
    assert delivered.read("carol", consumed=most + 1) == "ImplausibleReading"
    assert delivered.read("carol", produced=most + 1) == "ImplausibleReading"
    assert delivered.read("carol", consumed=most, produced=most) == ""


@pytest.mark.parametrize(
    "payload", [(), (PERIOD, 1), (PERIOD, 1, 2, 3), (PERIOD, -1, 0), (PERIOD, 0, -1), (-1, 0, 0), (PERIOD, "1", 0)]
)
def test_a_reading_of_another_shape_is_refused(delivered, payload):
    assert delivered.submit("meter-carol", "reading", *payload) == "WrongShape"


# --- corrections -------------------------------------------------------------------------------------


@pytest.fixture
def correctable() -> Grid:
    """As `delivered`, on chains where readings may be corrected for three periods."""
    market = MarketParams(correction_ppm=3_000_000)
    grid = Grid(JY1.model_copy(update={"market": market}), market=market)
    assert grid.plan() == ""
    grid.go("quota")
    assert grid.report(trade(0, "paul", "carol", 15)) == ""
    grid.go("delivery_end")
    return grid


def test_late_and_changed_readings_go_to_jy1_together_with_the_next_period(correctable):
    assert correctable.read("paul", produced=15 * KWH) == ""
    assert correctable.read("paul", produced=14 * KWH) == ""  # in time: what is metered is the last word
    correctable.go("meter")
    assert correctable.posted("metered") == [(address("paul"), 0, 14 * KWH)]
    assert correctable.read("carol", consumed=10 * KWH) == ""
    assert correctable.read("carol", consumed=11 * KWH) == ""
    assert correctable.read("paul", produced=15 * KWH) == ""
    correctable.go_on()
    rows = [(PERIOD, address("carol"), 11 * KWH, 0, 1), (PERIOD, address("paul"), 0, 15 * KWH, 2)]
    assert sorted(correctable.posted("corrected", correctable.period)) == sorted(rows)
    correctable.go_on()
    assert correctable.posted("corrected", correctable.period) is None
    assert correctable.read("carol", consumed=11 * KWH) == "DuplicateReading"


def test_a_correction_is_heard_as_one(correctable):
    correctable.read("paul", produced=15 * KWH)
    correctable.go("meter")
    execution = correctable.make_block(("meter-carol", "reading", (PERIOD, KWH, 0)))
    assert execution.events == (("corrected", PERIOD, address("carol"), KWH, 0, 0),)


def test_the_window_ends_and_is_shut_where_nobody_was_heard(correctable):
    correctable.read("paul", produced=15 * KWH)
    correctable.go("meter")
    correctable.now_ms = correctable.times().final_ms - 1
    assert correctable.read("carol", consumed=KWH) == ""
    assert correctable.read("chen", consumed=KWH, period=PERIOD + 1) == "ReadingTooLate"  # of which nobody was heard
    correctable.now_ms = correctable.times().final_ms
    assert correctable.read("carol", consumed=2 * KWH) == "ReadingTooLate"


def test_two_registers_make_a_reading_and_a_corrected_one_changes_both_its_periods(correctable):
    assert correctable.register("carol", consumed=50 * KWH, period=PERIOD - 1) == ""
    assert correctable.register("carol", consumed=50 * KWH) == ""  # it stood still, so it says
    correctable.go("meter")
    correctable.go("delivery_end", PERIOD + 1)
    assert correctable.register("carol", consumed=58_056, period=PERIOD + 1) == ""
    correctable.go("meter", PERIOD + 1)
    assert correctable.posted("metered") == [(address("carol"), 0, 0)]
    assert correctable.posted("metered", PERIOD + 1) == [(address("carol"), 8_056, 0)]
    assert correctable.register("carol", consumed=54_028) == ""
    correctable.go_on()
    rows = [(PERIOD, address("carol"), 4_028, 0, 1), (PERIOD + 1, address("carol"), 4_028, 0, 1)]
    assert correctable.posted("corrected", correctable.period) == rows


# --- bounds ------------------------------------------------------------------------------------------


def run_period(grid: Grid, period: int) -> None:
    """A period from its plan to its metering, nothing of it left to do."""
    grid.now_ms = grid.times(period).quota_ms - 1
    assert grid.plan(period=period) == ""
    grid.go("quota", period)
    assert grid.report(trade(0, "paul", "carol", 25, period=period), period=period) == ""
    grid.go("delivery_end", period)
    assert grid.read("carol", consumed=KWH, period=period) == ""
    grid.go("meter", period)


def test_the_records_of_so_many_periods_stay_and_no_more(grid):
    sizes = []
    for period in range(PERIOD, PERIOD + RETAINED + 8):
        run_period(grid, period)
        sizes.append(sum(key.startswith(b"scheduling/") for key, _ in grid.state.items()))
    first_kept = PERIOD + 8
    assert len(set(sizes[-8:])) == 1
    for get in (get_plan, get_quotas, get_contracts, get_actuals):
        assert get(grid.state, first_kept - 1) == []
        assert len(get(grid.state, first_kept)) > 0
    for get in (get_verdict, get_power_block, get_actual_block):
        assert get(grid.state, first_kept - 1) is None
        assert get(grid.state, first_kept) is not None


def test_a_forgotten_period_is_closed_for_good(grid):
    for period in range(PERIOD, PERIOD + RETAINED + 1):
        run_period(grid, period)
    grid.now_ms = grid.times(PERIOD).quota_ms - 1
    assert grid.plan(period=PERIOD) == "PlanTooLate"
    grid.now_ms = grid.times(PERIOD).verdict_ms - 1
    assert grid.report(period=PERIOD) == "AlreadyRelayed"
    forget_inbox(grid)
    assert grid.report(period=PERIOD) == "UnexpectedRelay"
    grid.now_ms = grid.times(PERIOD).delivery_end_ms
    assert grid.read("chen", period=PERIOD) == "ReadingTooLate"


# --- whatever comes, and whenever --------------------------------------------------------------------

# Periods are drawn as offsets from now, so that most actions count and some are out of time.
traders = st.sampled_from(sorted(TRADERS))
actions = st.one_of(
    st.tuples(st.just("plan"), st.sampled_from([4, 4, 4, 5, 3, 9]), st.sampled_from(["dispatch", "dispatch", "carol"])),
    st.tuples(
        st.just("report"), st.sampled_from([2, 2, 3, 1, 0, 4]), st.lists(st.tuples(traders, traders), max_size=4)
    ),
    st.tuples(st.just("read"), st.sampled_from([-1, -1, -1, -2, 0]), traders),
)
waits_ms = st.sampled_from([PERIOD_MS // 3] * 8 + [PERIOD_MS, 5 * PERIOD_MS, -PERIOD_MS // 5, -4 * PERIOD_MS])
stories = st.lists(st.tuples(st.lists(actions, min_size=2, max_size=5), waits_ms), min_size=15, max_size=30)


@settings(max_examples=60)
@given(story=stories)
def test_every_period_is_done_with_once_whatever_comes_and_whenever(story):
    grid = Grid(JY1, LH1)
    events: list[Event] = []
    grid.now_ms = grid.times(PERIOD).quota_ms - PERIOD_MS
    for batch, wait_ms in story:
        now = (grid.now_ms - GENESIS_MS) // PERIOD_MS
        for action in batch:
            match action:
                case ("plan", offset, sender):
                    call = (sender, "plan", (now + offset, PLAN))
                case ("read", offset, owner):
                    call = (f"meter-{owner}", "reading", (now + offset, KWH, KWH))
                case ("report", offset, pairs):
                    period = max(0, now + offset)  # as the relay contract sees to
                    rows = tuple(trade(index, *pair, 9, period=period) for index, pair in enumerate(pairs))
                    call = ("grid", "hand-over", ("trading", "result", period, 0, 1, rows))
            try:
                events += grid.make_block(call).events
            except GridmeritError:
                assert action[0] == "report"
        grid.now_ms = max(grid.now_ms + wait_ms, GENESIS_MS + 1)
        events += grid.make_block().events
    grid.now_ms = max(grid.now_ms, grid.times(grid.period + 10).meter_ms)
    events += grid.make_block().events

    assert live_periods(grid.state) == ()
    for kind in ("quota", "verdict", "metered", "actual"):
        periods = [event[1] for event in events if event[0] == kind]
        assert len(periods) == len(set(periods)), kind
    assert {event[1] for event in events if event[0] == "verdict"} <= {e[1] for e in events if e[0] == "quota"}
    read = {event[1] for event in events if event[0] == "reading"}
    kept = {int.from_bytes(key[15:23], "big") for key, _ in grid.state.items() if key.startswith(b"market/")}
    assert kept == read  # what meters said stays with the period's other records, and nothing else


# --- a period that is traded twice --------------------------------------------------------------------


@pytest.fixture(params=[0, 64], ids=["at once", "by shares"])
def twice(request) -> Grid:
    """DU1 with the quotas of day-ahead gate 20 out; its period's intraday gate is 21."""
    market = MARKET_TWICE.model_copy(update={"work_per_block": request.param})
    grid = Grid(JY1.model_copy(update={"market": market}), LH1, market=market, **CLOCK_TWICE)
    assert grid.plan() == ""
    grid.go("quota")
    return grid


def drain(grid: Grid) -> None:
    for _ in range(20):
        grid.make_block()


def test_intraday_quotas_are_what_the_day_ahead_contracts_leave_of_the_lines(twice):
    assert twice.posted("quota", 20) is not None
    day_ahead = trade(0, "paul", "carol", 15, period=20), trade(1, "chen", "carol", 20, period=20)
    assert twice.report(trade(0, "rosa", "chen", 1, period=21), period=21) == "UnexpectedRelay"
    assert twice.report(*day_ahead, period=20) == ""
    drain(twice)
    assert twice.posted("verdict", 20) == []
    twice.go("intraday_quota")
    left = {line: (demand, supply) for line, demand, supply, _ in twice.posted("quota", 21)}
    assert left == {
        "north": (80 * KWH, 100 * KWH),
        "mill": (15 * KWH, 50 * KWH),
        "farm": (40 * KWH, 25 * KWH),
        "barn": (20 * KWH, 5 * KWH),
        "south": (80 * KWH, 60 * KWH),
    }


def test_an_intraday_trade_is_cut_where_earlier_ones_have_taken_the_line(twice):
    assert twice.report(trade(0, "paul", "carol", 15, period=20), period=20) == ""
    drain(twice)
    twice.go("intraday_quota")
    assert twice.report(trade(0, "paul", "chen", 8, period=21), period=21) == ""
    drain(twice)
    assert twice.posted("verdict", 21) == [(0, 5 * KWH, "barn")]
    assert [row[2] for number in (20, 21) for row in twice.posted("power", number)] == [15 * KWH, 5 * KWH]


def test_meters_are_held_against_what_is_left_of_both_sessions(twice):
    """Carol buys 15 kWh and sells 5 of them to chen: paul delivers 10 to her and 5 to him."""
    assert twice.report(trade(0, "paul", "carol", 15, period=20), period=20) == ""
    drain(twice)
    twice.go("intraday_quota")
    assert twice.report(trade(0, "carol", "chen", 5, period=21), period=21) == ""
    drain(twice)
    twice.go("delivery_end")
    for name, consumed, produced in (("carol", 9, 0), ("chen", 7, 2), ("paul", 1, 16)):
        assert twice.read(name, consumed=consumed * KWH, produced=produced * KWH) == ""
    twice.go("meter")
    drain(twice)
    parts = {(row.buyer, row.seller): row[4:] for row in get_actuals(twice.state, PERIOD)}
    assert parts == {
        (address("carol"), address("paul")): (10 * KWH, 9 * KWH, 10 * KWH),
        (address("chen"), address("paul")): (5 * KWH, 5 * KWH, 5 * KWH),
    }
    assert get_actual_block(twice.state, PERIOD).metered_wh == 14 * KWH
    assert twice.posted("metered") is not None


def test_without_a_day_ahead_list_the_lines_are_free_intraday(twice):
    twice.go("intraday_quota")
    assert {line: (demand, supply) for line, demand, supply, _ in twice.posted("quota", 21)}["mill"] == (
        50 * KWH,
        50 * KWH,
    )
    assert twice.report(trade(0, "paul", "carol", 1, period=20), period=20) == "RelayTooLate"
    assert twice.report(trade(0, "paul", "carol", 5, period=21), period=21) == ""


def test_nothing_of_either_session_stays_for_good(twice):
    assert twice.report(trade(0, "paul", "carol", 15, period=20), period=20) == ""
    drain(twice)
    twice.go("intraday_quota")
    assert twice.report(trade(0, "carol", "chen", 5, period=21), period=21) == ""
    for period in range(PERIOD, PERIOD + RETAINED + 1):
        twice.go("delivery_end", period)
        assert twice.read("rosa", consumed=1, period=period) == ""
        twice.go("meter", period)
        drain(twice)
    for number in (20, 21):
        assert get_quotas(twice.state, number) == get_contracts(twice.state, number) == []
        assert get_verdict(twice.state, number) is get_power_block(twice.state, number) is None
