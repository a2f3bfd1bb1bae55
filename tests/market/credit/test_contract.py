"""LH1, the credit index blockchain: scores, offences, digests, snapshots, and what the other chains make of them."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.accounts import Account, account_key, decode_account, get_account, put_account
from ledger.codec import decode, encode
from ledger.contract import BlockContext, Contracts
from ledger.errors import AlreadyRecorded, GridmeritError, Malformed, UnknownMember, WrongShape
from ledger.execution import execute_body
from ledger.genesis import Genesis, GenesisMember, build_state
from ledger.hashing import tagged_hash
from ledger.inbox import InboundMessage, read_part
from ledger.outbox import ROWS_PER_PART, get_entries, iterate_parts
from ledger.overlay import Overlay
from ledger.params import ChainParams, LedgerParams, MarketParams
from ledger.snapshot import get_snapshot
from ledger.state import verify_state_proof
from market.credit.assets import Assessment, get_coins
from market.credit.contract import (
    RETAINED_DIGESTS,
    Digest,
    credit_handlers,
    credit_hooks,
    credit_routes,
    get_digest,
    get_indexed,
    receive_credit,
)
from market.credit.score import add_penalty, add_score, assess_delivery, running_credit
from market.orders import Side
from tests.support.keys import address, key_of

KWH = 1_000
POINT = 1_000_000
INITIAL = 90 * POINT
PERIOD_MS = 1_000
GENESIS_MS = 1_700_000_000_000
TRADERS = ("carol", "chen", "paul", "pia")
BLOCK_HASH = bytes([7]) * 32


@cache
def found_network(traders: tuple[str, ...], natural_factor_ppm: int) -> Genesis:
    members = [GenesisMember(name="grid", role="grid-operator", key=key_of("grid").public_key, seals=("*",))]
    members += [
        GenesisMember(name=name, role="prosumer", key=key_of(name).public_key, seals=("*",) if name == "paul" else ())
        for name in traders
    ]
    ledger = LedgerParams(period_ms=PERIOD_MS)
    market = MarketParams(natural_factor_ppm=natural_factor_ppm)
    return Genesis(
        params=ChainParams(name="LH1", kind="credit", ledger=ledger, market=market),
        time_ms=GENESIS_MS,
        members=tuple(members),
        siblings=(ChainParams(name="JY1", kind="trading", ledger=ledger, market=market),),
    )


class Node:
    """One chain of the network: blocks of its hooks, and messages handed to its receivers as a relay would."""

    def __init__(self, chain: str = "LH1", *, traders: tuple[str, ...] = TRADERS, natural_factor_ppm: int = 0):
        genesis = found_network(traders, natural_factor_ppm)
        self.genesis = genesis if chain == "LH1" else genesis.open(chain)
        self.state = build_state(self.genesis)
        self.routes = credit_routes() if chain == "LH1" else {("credit", "credit"): receive_credit}
        self.hooks = credit_hooks() if chain == "LH1" else ()
        self.events: tuple[object, ...] = ()
        self.height = self.period = 0

    def context(self, period: int) -> BlockContext:
        return BlockContext(
            params=self.genesis.params,
            chain_id=self.genesis.chain_id,
            genesis_time_ms=GENESIS_MS,
            height=self.height + 1,
            parent=bytes(32),
            producer=address("grid"),
            timestamp_ms=GENESIS_MS + period * PERIOD_MS + 1,
            period=period,
            is_first_of_period=period > self.period,
        )

    def make_block(self, period: int | None = None) -> None:
        """An empty block, of the next period unless said otherwise."""
        block = self.context(self.period + 1 if period is None else period)
        execution = execute_body(self.state, block, (), Contracts(handlers=credit_handlers(), hooks=self.hooks))
        self.state, self.events = execution.state, execution.events
        self.height, self.period = block.height, block.period

    def receive(self, source: str, kind: str, number: int, *rows: object, part: int = 0, parts: int = 1) -> None:
        """Hand over a message as the relay contract does; what is refused leaves nothing behind."""
        self.height += 1
        view = Overlay(self.state)
        delivery = InboundMessage(
            source={"trading": "JY1", "scheduling": "DU1", "credit": "LH1"}[source],
            kind=kind,
            number=number,
            part=part,
            parts=parts,
            rows=rows,  # type: ignore[arg-type]
            is_complete=part == parts - 1,
            block_hash=BLOCK_HASH,
            height=1_000 + number,
        )
        try:
            self.routes[source, kind](view, self.context(self.period), delivery)
        except GridmeritError:
            view.rollback()
            assert view.finish()[1].changes == {}
            raise
        view.commit()
        self.state, self.events = view.finish()[0], view.events

    def deliver(self, number: int, *rows: object, **part: int) -> None:
        self.receive("trading", "delivered", number, *rows, **part)

    def punish(self, slot: int, name: str, cost_upt: int, *, source: str = "trading") -> None:
        self.receive(source, "offence", slot, (bytes([slot]) * 32, address(name), cost_upt))

    def account(self, name: str) -> Account:
        return get_account(Overlay(self.state), address(name))

    def edit(self, name: str, **fields: int) -> None:
        view = Overlay(self.state)
        put_account(view, address(name), self.account(name)._replace(**fields))
        view.commit()
        self.state = view.finish()[0]

    def posted(self, number: int) -> list[tuple[object, ...]]:
        """The rows of each part of a snapshot in the outbox."""
        return [read_part(raw)[1] for kind, at, _, raw in iterate_parts(self.state) if (kind, at) == ("credit", number)]


def trade(index: int, buyer: str, seller: str, agreed: int, consumed: int, produced: int) -> tuple[object, ...]:
    """A row of `delivered`, energy in kWh."""
    return (index, address(buyer), address(seller), agreed * KWH, consumed * KWH, produced * KWH)


@pytest.fixture
def lh1() -> Node:
    return Node()


# --- scores: Eqs (1), (2) and (12) ----------------------------------------------------------------

TABLE_2 = [
    # agreed, consumption, output, and the buyer's and the seller's score as Eqs (1) and (2) give them
    (200, 220, 200, 100, 100),
    (200, 180, 200, 90, 100),
    (200, 180, 180, 90, 90),
    (200, 190, 190, 95, 95),
    (200, 240, 220, 100, 100),
]


@pytest.mark.parametrize(("agreed", "consumed", "produced", "buyer", "seller"), TABLE_2)
def test_a_delivery_scores_both_sides(lh1, agreed, consumed, produced, buyer, seller):
    lh1.deliver(3, trade(0, "carol", "paul", agreed, consumed, produced))
    carol, paul = lh1.account("carol"), lh1.account("paul")
    assert (carol.credit_upt, carol.score_count) == (buyer * POINT, 1)
    assert (paul.credit_upt, paul.score_count) == (seller * POINT, 1)
    assert [event for event in lh1.events if event[0] == "credit"] == [
        ("credit", 3, address("carol"), buyer * POINT, buyer * POINT),
        ("credit", 3, address("paul"), seller * POINT, seller * POINT),
    ]
    assert get_indexed(Overlay(lh1.state)) == sorted([address("carol"), address("paul")])


def test_the_weather_excuses_a_part_of_the_sellers_shortfall_only():
    lh1 = Node(natural_factor_ppm=100_000)
    lh1.deliver(3, trade(0, "carol", "paul", 200, 180, 180), trade(1, "chen", "pia", 200, 100, 100))
    assert [lh1.account(name).credit_upt // POINT for name in TRADERS] == [90, 50, 99, 55]


deliveries = st.lists(
    st.tuples(st.integers(1, 10**11), st.integers(0, 2 * 10**11), st.integers(0, 2 * 10**11)), min_size=1, max_size=20
)


@given(deliveries, st.sampled_from([0, 100_000, 300_000]), st.integers(1, 7))
def test_credit_on_chain_is_the_running_mean_of_the_scores(rows, factor_ppm, per_part):
    lh1 = Node(natural_factor_ppm=factor_ppm)
    numbered = [(index, address("carol"), address("paul"), *row) for index, row in enumerate(rows)]
    pieces = [numbered[at : at + per_part] for at in range(0, len(numbered), per_part)]
    for part, piece in enumerate(pieces):
        lh1.deliver(3, *piece, part=part, parts=len(pieces))
    bought = [assess_delivery(consumed, agreed) for agreed, consumed, _ in rows]
    sold = [assess_delivery(produced, agreed, natural_factor_ppm=factor_ppm) for agreed, _, produced in rows]
    assert lh1.account("carol").credit_upt == running_credit(bought)
    assert lh1.account("paul").credit_upt == running_credit(sold)
    assert sum(coin.credit_upt for _, coin in get_coins(lh1.state, address("paul"))) == sum(sold)


def test_a_score_is_the_genesis_of_a_coin_and_nothing_scored_is_none(lh1):
    lh1.deliver(3, trade(0, "carol", "paul", 200, 180, 0))
    [(point, coin)] = get_coins(lh1.state, address("carol"))
    assert point.transaction_id == coin.colour == Assessment("JY1", "delivered", 3, 0, Side.BID).id
    assert coin.credit_upt == 90 * POINT
    assert get_coins(lh1.state, address("paul")) == []
    assert [event[0] for event in lh1.events] == ["credit", "coin-issued", "credit", "digest"]


MALFORMED = {
    "no array": 5,
    "too short": (0, address("carol"), address("paul"), 1, 1),
    "too long": (0, address("carol"), address("paul"), 1, 1, 1, 1),
    "nothing agreed": (0, address("carol"), address("paul"), 0, 1, 1),
    "a negative reading": (0, address("carol"), address("paul"), 1, -1, 1),
    "a negative output": (0, address("carol"), address("paul"), 1, 1, -1),
    "a negative index": (-1, address("carol"), address("paul"), 1, 1, 1),
    "a short address": (0, address("carol")[:19], address("paul"), 1, 1, 1),
    "text for an address": (0, address("carol"), "paul", 1, 1, 1),
}


@pytest.mark.parametrize("row", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_delivery_is_refused_whole(lh1, row):
    with pytest.raises(Malformed):
        lh1.deliver(3, trade(0, "chen", "pia", 200, 200, 200), row)


def test_trades_come_by_rising_index(lh1):
    row = trade(4, "carol", "paul", 200, 200, 200)
    with pytest.raises(WrongShape, match="trade 4 comes after trade 4"):
        lh1.deliver(3, row, row)


def test_a_trade_is_not_assessed_twice(lh1):
    row = trade(4, "carol", "paul", 200, 200, 200)
    lh1.deliver(3, row, parts=2)
    with pytest.raises(AlreadyRecorded, match="assessment"):
        lh1.deliver(3, row, part=1, parts=2)


def redelivered(period: int, row: tuple[object, ...], consumed: int, produced: int) -> tuple[object, ...]:
    """A row of `redelivered`: as `delivered` has it now, and the energy (kWh) that was metered before."""
    return (period, *row, consumed * KWH, produced * KWH)


@pytest.mark.parametrize("is_late", [True, False])
def test_a_corrected_delivery_has_its_score_changed_whichever_message_comes_first(is_late):
    lh1 = Node()
    first, others = trade(0, "carol", "paul", 20, 0, 20), trade(1, "carol", "pia", 10, 10, 5)
    corrected = redelivered(5, trade(0, "carol", "paul", 20, 15, 20), 0, 20)
    messages = [("delivered", 5, first, others), ("redelivered", 7, corrected)]
    for kind, number, *rows in messages if is_late else reversed(messages):
        lh1.receive("trading", kind, number, *rows)
    assert (lh1.account("carol").credit_upt, lh1.account("carol").score_count) == ((75 + 100) * POINT // 2, 2)
    assert lh1.account("paul").credit_upt == 100 * POINT
    if is_late:
        assert lh1.events[0] == ("credit-corrected", 5, address("carol"), 75 * POINT, (75 + 100) * POINT // 2)


@pytest.mark.parametrize(
    "row",
    [
        (5, *trade(0, "carol", "paul", 20, 15, 20)),
        (-1, *trade(0, "carol", "paul", 20, 15, 20), 0, 0),
        (5, *trade(0, "carol", "paul", 0, 15, 20), 0, 0),
        (5, *trade(0, "carol", "paul", 20, 15, 20), -1, 0),
        (5, *trade(0, "carol", "paul", 20, 15, 20), 0, None),
    ],
)
def test_a_malformed_correction_is_refused_whole(lh1, row):
    with pytest.raises(Malformed):
        lh1.receive("trading", "redelivered", 7, row)


@pytest.mark.parametrize("row", [trade(0, "eve", "paul", 1, 1, 1), trade(0, "carol", "eve", 1, 1, 1)])
def test_strangers_are_not_scored(lh1, row):
    with pytest.raises(UnknownMember):
        lh1.deliver(3, row)


def test_a_penalty_stays_when_scores_follow():
    account = add_penalty(Account(credit_upt=INITIAL), 20 * POINT)
    assert account.credit_upt == 70 * POINT
    account = add_score(account, 100 * POINT, agreed_wh=1, params=MarketParams(initial_credit_upt=INITIAL))
    assert account.credit_upt == 80 * POINT
    account = add_penalty(add_penalty(account, 50 * POINT), 50 * POINT)
    assert (account.credit_upt, account.penalty_upt) == (0, 120 * POINT)
    assert add_score(account, 100 * POINT, agreed_wh=1, params=MarketParams(initial_credit_upt=INITIAL)).credit_upt == 0


def test_a_light_client_can_check_a_members_attributes(lh1):
    # L_h = {address, balance, credit}, Eq. (7)
    lh1.deliver(3, trade(0, "carol", "paul", 200, 180, 200))
    key = account_key(address("carol"))
    proof, value = lh1.state.prove(key), lh1.state.get(key)
    verify_state_proof(lh1.state.root, key, value, proof)
    account = decode_account(decode(value, max_bytes=1_000))
    assert (account.balance_uyuan, account.credit_upt) == (0, 90 * POINT)
    with pytest.raises(GridmeritError):
        verify_state_proof(lh1.state.root, key, encode(tuple(account._replace(credit_upt=91 * POINT))), proof)


# --- offences -------------------------------------------------------------------------------------


def test_an_offence_costs_credit_once_per_chain_and_slot(lh1):
    lh1.punish(1, "paul", 20 * POINT)
    paul = lh1.account("paul")
    assert (paul.credit_upt, paul.penalty_upt) == (70 * POINT, 20 * POINT)
    assert lh1.events[0] == ("punished", address("paul"), 70 * POINT)
    with pytest.raises(AlreadyRecorded):
        lh1.punish(1, "paul", 20 * POINT)
    lh1.punish(1, "paul", 20 * POINT, source="scheduling")  # two chains may have a slot of that digest
    lh1.punish(2, "paul", 100 * POINT)
    paul = lh1.account("paul")
    assert (paul.credit_upt, paul.penalty_upt) == (0, 140 * POINT)
    assert get_indexed(Overlay(lh1.state)) == [address("paul")]


OFFENCES = {
    "no row": (WrongShape, []),
    "two rows": (WrongShape, [(bytes(32), address("paul"), 1), (bytes(32), address("pia"), 1)]),
    "a short slot": (WrongShape, [(bytes(31), address("paul"), 1)]),
    "a negative cost": (WrongShape, [(bytes(32), address("paul"), -1)]),
    "more than all credit": (WrongShape, [(bytes(32), address("paul"), 100 * POINT + 1)]),
    "no address": (WrongShape, [(bytes(32), None, 1)]),
    "a stranger": (UnknownMember, [(bytes(32), address("eve"), 1)]),
}


@pytest.mark.parametrize(("error", "rows"), OFFENCES.values(), ids=OFFENCES)
def test_an_offence_of_another_shape_is_refused(lh1, error, rows):
    with pytest.raises(error):
        lh1.receive("scheduling", "offence", 0, *rows)


# --- digests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["power", "actual"])
def test_blocks_of_the_scheduling_chain_are_digested(lh1, kind):
    root = bytes([5]) * 32
    lh1.receive("scheduling", kind, 8, (root, 3, 600 * KWH))
    assert get_digest(lh1.state, "DU1", kind, 8) == Digest(BLOCK_HASH, 1_008, root)
    assert get_digest(lh1.state, "JY1", kind, 8) is None
    assert lh1.events == (("digest", "DU1", kind, 8, root),)


@pytest.mark.parametrize(
    "rows", [[], [(bytes(32), 1)], [(bytes(31), 1, 1)], [(bytes(32), -1, 1)], [(bytes(32), 1, 1)] * 2]
)
def test_a_digest_of_another_shape_is_refused(lh1, rows):
    with pytest.raises(WrongShape):
        lh1.receive("scheduling", "power", 8, *rows)


def test_the_first_part_of_a_delivery_is_digested(lh1):
    rows = (trade(0, "carol", "paul", 200, 200, 200),)
    lh1.deliver(3, trade(1, "carol", "paul", 200, 200, 200), part=1, parts=2)
    assert get_digest(lh1.state, "JY1", "delivered", 3) is None
    lh1.deliver(3, *rows, part=0, parts=2)
    digest = tagged_hash("gridmerit/credit/rows", encode(rows))
    assert get_digest(lh1.state, "JY1", "delivered", 3) == Digest(BLOCK_HASH, 1_003, digest)
    lh1.punish(0, "paul", 0)
    assert get_digest(lh1.state, "JY1", "offence", 0) is not None


def test_digests_of_the_latest_numbers_are_kept(lh1):
    size = len(lh1.state)
    for number in range(1, RETAINED_DIGESTS + 10):
        lh1.receive("scheduling", "power", number, (bytes(32), 0, 0))
    lh1.receive("scheduling", "power", 0, (bytes(32), 0, 0))  # late, and too old to be kept
    kept = [number for number in range(80) if get_digest(lh1.state, "DU1", "power", number)]
    assert kept == list(range(10, RETAINED_DIGESTS + 10))
    assert len(lh1.state) == size + RETAINED_DIGESTS + 1


# --- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_is_posted_as_a_period_begins(lh1):
    lh1.make_block()
    assert lh1.events == ()
    assert get_entries(Overlay(lh1.state)) == ()  # nobody has earned or lost credit yet
    lh1.deliver(0, trade(0, "carol", "paul", 200, 180, 190))
    lh1.make_block(lh1.period)  # not the first block of its period
    assert lh1.posted(1) == []
    lh1.make_block(5)
    assert lh1.events == (("credit-snapshot", 5, 2),)
    want = sorted([(address("carol"), 90 * POINT), (address("paul"), 95 * POINT)])
    assert lh1.posted(5) == [tuple(want)]
    assert get_snapshot(lh1.state).members[key_of("paul").public_key].credit_upt == 95 * POINT


def test_whom_lh1_itself_has_punished_is_in_the_snapshot_for_good(lh1):
    lh1.edit("paul", credit_upt=70 * POINT, penalty_upt=20 * POINT)  # as the evidence contract does
    lh1.make_block()
    assert lh1.posted(1) == [((address("paul"), 70 * POINT),)]
    lh1.make_block()
    assert lh1.posted(2) == lh1.posted(1)


def test_the_order_of_scores_does_not_change_a_snapshot():
    rows = [trade(0, "carol", "paul", 10, 9, 8), trade(1, "chen", "pia", 10, 7, 6)]
    posted = []
    for first, second in (rows, rows[::-1]):
        lh1 = Node()
        lh1.deliver(1, first)
        lh1.deliver(2, second)
        lh1.make_block()
        posted.append(lh1.posted(1))
    assert posted[0] == posted[1]


def test_snapshots_reach_the_trading_chain_and_count_from_its_next_period():
    traders = ("paul", *(f"user-{number}" for number in range(ROWS_PER_PART + 5)))
    lh1, jy1 = Node(traders=traders), Node("JY1", traders=traders)
    lh1.deliver(0, *(trade(index, name, "paul", 100, index, 60) for index, name in enumerate(traders[1:])))
    lh1.make_block()
    parts = lh1.posted(1)
    assert list(map(len, parts)) == [ROWS_PER_PART, 6]
    for part, rows in enumerate(parts):
        jy1.receive("credit", "credit", 1, *rows, part=part, parts=2)
        assert jy1.events == (("credit-applied", 1, len(rows)),)
    assert [jy1.account(name).credit_upt for name in traders] == [lh1.account(name).credit_upt for name in traders]
    paul = key_of("paul").public_key
    assert get_snapshot(jy1.state).members[paul].credit_upt == INITIAL
    jy1.make_block()
    assert get_snapshot(jy1.state).members[paul].credit_upt == 60 * POINT
    assert get_snapshot(jy1.state).members == get_snapshot(lh1.state).members


def test_an_older_snapshot_changes_nothing():
    jy1 = Node("JY1")
    jy1.receive("credit", "credit", 7, (address("carol"), 70 * POINT), parts=2)
    before = jy1.state.root
    jy1.receive("credit", "credit", 6, (address("carol"), 60 * POINT), (address("paul"), 60 * POINT))
    assert (jy1.state.root, jy1.events) == (before, ())
    jy1.receive("credit", "credit", 7, (address("paul"), 71 * POINT), part=1, parts=2)
    jy1.receive("credit", "credit", 8, (address("carol"), 80 * POINT))
    assert [jy1.account(name).credit_upt // POINT for name in ("carol", "paul")] == [80, 71]


def test_a_snapshot_leaves_the_rest_of_an_account_alone():
    jy1 = Node("JY1")
    jy1.edit("carol", balance_uyuan=5, reserved_uyuan=6, sequence=7)
    before = jy1.account("carol")
    jy1.receive("credit", "credit", 1, (address("carol"), 0))
    assert jy1.account("carol") == before._replace(credit_upt=0)


SNAPSHOTS = {
    "a stranger": (UnknownMember, (address("eve"), 1)),
    "beyond full credit": (WrongShape, (address("paul"), 100 * POINT + 1)),
    "below none": (WrongShape, (address("paul"), -1)),
    "a short address": (WrongShape, (b"paul", 1)),
    "three fields": (WrongShape, (address("paul"), 1, 1)),
    "a bare number": (WrongShape, 1),
}


@pytest.mark.parametrize(("error", "row"), SNAPSHOTS.values(), ids=SNAPSHOTS)
def test_a_snapshot_of_another_shape_is_refused_whole(error, row):
    with pytest.raises(error):
        Node("JY1").receive("credit", "credit", 1, (address("carol"), POINT), row)


# --- snapshots by shares -----------------------------------------------------------------------------


def make_slow(members: int) -> Node:
    """LH1 with so many who have been scored, of whom a block tells the credit of 32."""
    names = tuple(f"player-{index}" for index in range(members))
    lh1 = Node(traders=names)
    params = lh1.genesis.params
    market = params.market.model_copy(update={"work_per_block": 64})
    lh1.genesis = lh1.genesis.model_copy(update={"params": params.model_copy(update={"market": market})})
    for index in range(0, members, 2):
        lh1.deliver(index + 1, trade(0, names[index], names[index + 1], 200, 100 + index, 180))
    return lh1


def tell(lh1: Node) -> dict[bytes, int]:
    return dict(row for part in lh1.posted(lh1.period) for row in part)  # type: ignore[misc]


def test_a_snapshot_takes_as_many_blocks_as_it_needs_and_tells_every_credit():
    lh1 = make_slow(70)
    for _ in range(2):
        lh1.make_block()
        blocks = 1
        while not tell(lh1):
            assert not [event for event in lh1.events if event[0] == "credit-snapshot"]
            lh1.make_block(lh1.period)
            blocks += 1
        assert blocks == 4  # 32, 32 and 6 members, and then all are told
        assert ("credit-snapshot", lh1.period, 70) in lh1.events
        expected = {address(f"player-{index}"): lh1.account(f"player-{index}").credit_upt for index in range(70)}
        assert tell(lh1) == expected
    assert not [key for key, _ in lh1.state.items() if key.startswith((b"market/page", b"credit/telling"))]


def test_a_snapshot_that_the_next_one_overtakes_is_given_up():
    lh1 = make_slow(70)
    lh1.make_block()
    overtaken = lh1.period
    lh1.make_block()
    for _ in range(3):
        lh1.make_block(lh1.period)
    assert lh1.posted(overtaken) == []
    assert len(tell(lh1)) == 70
    assert not [key for key, _ in lh1.state.items() if key.startswith((b"market/page", b"credit/telling"))]
