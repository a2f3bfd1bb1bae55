"""Credit coins of one owner and colour become one after a snapshot: no credit is made or lost, nothing forgotten."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode
from ledger.contract import BlockContext, Contracts
from ledger.errors import InvalidProof
from ledger.execution import execute_body, find_next_due
from ledger.genesis import Genesis, GenesisMember, build_state
from ledger.inbox import InboundMessage
from ledger.merkle import inclusion_proof, merkle_root
from ledger.overlay import Overlay
from ledger.params import ChainParams, LedgerParams, MarketParams
from ledger.state import State, verify_state_proof
from ledger.transaction import make_transaction
from market.credit import assets
from market.credit.assets import (
    MIN_TRANSFER_UPT,
    Assessment,
    coin_key,
    decode_coin,
    get_coins,
    get_holding,
    issue_assessment,
)
from market.credit.colored_coin import (
    CoinOutput,
    Label,
    Merger,
    OutPoint,
    Payment,
    make_sequence,
    merge,
    merger_leaf,
    merit_colour,
    transfer,
    verify_origin,
)
from market.credit.contract import credit_handlers, credit_hooks, credit_next_due, credit_routes
from market.messages import DELIVERED
from market.orders import Side
from tests.support.keys import address, key_of

POINT = 1_000_000
LEAST = MIN_TRANSFER_UPT
MEMBERS = ("ann", "ben", "eve")
SHARE = 64
PERIOD_MS = 1_000
PLAIN = make_sequence(Label.TRANSFER, 0)
CONTRACTS = Contracts(handlers=credit_handlers(), hooks=credit_hooks(), next_due=credit_next_due())


@cache
def found_chain(merged_coins: int, members: int) -> tuple[Genesis, State]:
    grid = GenesisMember(name="grid", role="grid-operator", key=key_of("grid").public_key, seals=("*",))
    names = [*MEMBERS, *(f"m{index}" for index in range(members))]
    others = [GenesisMember(name=name, role="prosumer", key=key_of(name).public_key) for name in names]
    ledger, market = LedgerParams(period_ms=PERIOD_MS), MarketParams(merged_coins=merged_coins)
    genesis = Genesis(
        params=ChainParams(name="LH1", kind="credit", ledger=ledger, market=market),
        time_ms=0,
        members=(grid, *others),
        siblings=(ChainParams(name="JY1", ledger=ledger),),
    )
    return genesis, build_state(genesis)


class Bank:
    """LH1 with its hooks: assessments at will, transfers, and blocks in and between periods."""

    def __init__(self, merged_coins: int = SHARE, members: int = 0) -> None:
        self.genesis, self.state = found_chain(merged_coins, members)
        self.is_merging = merged_coins > 0
        self.height = self.period = self.issued = 0
        self.sequences: Counter[str] = Counter()
        self.events: tuple[object, ...] = ()
        self.begin_period()

    def issue(self, owner: str, credit_upt: int = POINT, *, is_merging: bool | None = None) -> OutPoint:
        view, self.issued = Overlay(self.state), self.issued + 1
        assessment = Assessment("JY1", "delivered", self.issued, 0, Side.OFFER)
        is_merging = self.is_merging if is_merging is None else is_merging
        issue_assessment(view, assessment, address(owner), credit_upt, is_merging=is_merging)
        view.commit()
        self.state, self.events = view.finish()[0], view.events
        return OutPoint(assessment.id, 0)

    def send(self, sender: str, inputs: list[OutPoint], *outputs: tuple[str, int]) -> str:
        payments = tuple((address(owner), credit_upt) for owner, credit_upt in outputs)
        transaction = make_transaction(
            key_of(sender),
            chain_id=self.genesis.chain_id,
            sequence=self.sequences[sender],
            expiry_height=self.height + 1,
            kind="coin-transfer",
            payload=(tuple(map(tuple, inputs)), payments, PLAIN),  # type: ignore[arg-type]
        )
        self.sequences[sender] += 1
        return self.make_block(transaction)[0]

    def begin_period(self) -> None:
        self.period += 1
        self.make_block(is_first=True)

    def make_block(self, *transactions: object, is_first: bool = False) -> list[str]:
        self.height += 1
        execution = execute_body(self.state, self.context(is_first=is_first), transactions, CONTRACTS)  # type: ignore[arg-type]
        self.state, self.events = execution.state, execution.events
        return [receipt.code for receipt in execution.receipts]

    def next_due(self) -> int:
        return find_next_due(self.state, self.context(), CONTRACTS)

    def context(self, *, is_first: bool = False) -> BlockContext:
        return BlockContext(
            params=self.genesis.params,
            chain_id=self.genesis.chain_id,
            genesis_time_ms=0,
            height=self.height,
            parent=bytes(32),
            producer=address("grid"),
            timestamp_ms=self.period * PERIOD_MS,
            period=self.period,
            is_first_of_period=is_first,
        )

    def coins(self, owner: str) -> dict[OutPoint, CoinOutput]:
        return dict(get_coins(self.state, address(owner)))

    def credits(self, owner: str) -> list[int]:
        return sorted(coin.credit_upt for coin in self.coins(owner).values())

    def by_colour(self) -> Counter[bytes]:
        """All credit there is, counted coin by coin."""
        found: Counter[bytes] = Counter()
        for _, coin in self.all_coins():
            found[coin.colour] += coin.credit_upt
        return found

    def all_coins(self) -> list[tuple[bytes, CoinOutput]]:
        prefix = b"credit/coin/"
        return [
            (key, decode_coin(decode(value, max_bytes=1_000)))
            for key, value in self.state.items()
            if key.startswith(prefix)
        ]

    def merged(self) -> list[tuple[object, ...]]:
        return [event for event in self.events if event[0] == "coins-merged"]  # type: ignore[index]

    def check(self, names: tuple[str, ...] = MEMBERS) -> None:
        """All coins are held by members, and no coin is in two places."""
        assert sum(len(self.coins(name)) for name in names) == len(self.all_coins())
        for name in names:
            holding = get_holding(self.state, address(name))
            assert (holding.coins, holding.credit_upt) == (len(self.coins(name)), sum(self.credits(name)))


def spent_by(event: tuple[object, ...]) -> int:
    return len(event[3])  # type: ignore[arg-type]


# --- what becomes one -------------------------------------------------------------------------------


def test_what_a_member_earned_becomes_one_coin_when_a_snapshot_is_taken():
    bank = Bank()
    points = [bank.issue("ann", (index + 1) * POINT) for index in range(3)]
    bank.make_block()
    assert list(bank.coins("ann")) == points[::-1]  # no snapshot yet
    bank.begin_period()
    ((point, coin),) = bank.coins("ann").items()
    assert coin == CoinOutput(address("ann"), 6 * POINT, 0, merit_colour(address("ann")))
    assert bank.events[-1] == (
        "coins-merged",
        point.transaction_id,
        address("ann"),
        tuple(sorted(map(tuple, points))),
        6 * POINT,
    )
    bank.check()


def test_a_coin_alone_in_its_colour_keeps_its_name():
    bank = Bank()
    point = bank.issue("ann")
    for _ in range(3):
        bank.begin_period()
    assert list(bank.coins("ann")) == [point]
    assert bank.merged() == []


def test_coins_of_two_earners_never_mix():
    bank = Bank()
    for owner in ("ann", "ben"):
        for _ in range(2):
            assert bank.send(owner, [bank.issue(owner)], ("eve", POINT)) == ""
    bank.issue("eve")
    bank.issue("eve")
    bank.begin_period()
    assert {coin.colour: coin.credit_upt for coin in bank.coins("eve").values()} == {
        merit_colour(address(owner)): 2 * POINT for owner in MEMBERS
    }
    bank.check()


def test_credit_that_comes_home_joins_what_was_earned_there():
    bank = Bank()
    bank.send("ann", [bank.issue("ann")], ("ben", POINT))
    bank.send("ben", list(bank.coins("ben")), ("ann", POINT))
    bank.issue("ann")
    bank.begin_period()
    assert bank.credits("ann") == [2 * POINT]
    bank.check()


def test_a_chain_without_the_rule_keeps_every_coin():
    bank = Bank(merged_coins=0)
    points = [bank.issue("ann") for _ in range(3)]
    before = bank.state.root
    bank.begin_period()
    assert list(bank.coins("ann")) == points[::-1]
    assert [coin.colour for coin in bank.coins("ann").values()] == [point.transaction_id for point in points[::-1]]
    assert before != bank.state.root  # the clock and the snapshot
    assert bank.state.get(b"credit/merging") is None


def test_coins_from_before_the_rule_join_when_it_holds():
    """Each has the colour of its own assessment; those that were passed on keep theirs."""
    bank = Bank()
    points = [bank.issue("ann", is_merging=False) for _ in range(4)]
    assert bank.send("ann", points[:1], ("ben", POINT // 2), ("ann", POINT // 2)) == ""
    bank.begin_period()
    colours = {coin.colour: coin.credit_upt for coin in bank.coins("ann").values()}
    assert colours == {merit_colour(address("ann")): 3 * POINT, points[0].transaction_id: POINT // 2}
    assert [coin.colour for coin in bank.coins("ben").values()] == [points[0].transaction_id]
    bank.check()


def test_what_is_delivered_is_of_the_colour_of_who_earned_it():
    bank = Bank()
    view, row = Overlay(bank.state), (0, address("ann"), address("ben"), 1_000, 1_000, 1_000)
    message = InboundMessage(
        source="JY1",
        kind=DELIVERED,
        number=1,
        part=0,
        parts=1,
        rows=(row,),
        is_complete=True,
        block_hash=bytes(32),
        height=1,
    )
    credit_routes()["trading", DELIVERED](view, bank.context(), message)
    view.commit()
    bank.state = view.finish()[0]
    assert {name: [coin.colour for coin in bank.coins(name).values()] for name in ("ann", "ben")} == {
        name: [merit_colour(address(name))] for name in ("ann", "ben")
    }


# --- the past of a coin -----------------------------------------------------------------------------


def test_a_proof_of_a_merged_coin_leads_back_to_the_assessment():
    """A state proof of the coin that is there, two mergers by digest, and a state proof from back then."""
    bank = Bank()
    first, second = bank.issue("ann", 5 * POINT), bank.issue("ann", 7 * POINT)
    at_first = bank.state
    bank.begin_period()
    coins = [(point, decode_coin(decode(at_first.get(coin_key(point)), max_bytes=1_000))) for point in (first, second)]
    ((between, middle),) = bank.coins("ann").items()
    third = bank.issue("ann", POINT)
    later = [(between, middle), (third, bank.coins("ann")[third])]
    bank.begin_period()
    ((last, _),) = bank.coins("ann").items()

    key = coin_key(last)
    verify_state_proof(bank.state.root, key, bank.state.get(key), bank.state.prove(key))
    for made, inputs, (point, coin) in ((last, later, (between, middle)), (between, coins, coins[0])):
        inputs.sort()
        leaves, index = [merger_leaf(*item) for item in inputs], inputs.index((point, coin))
        merger = Merger(address("ann"), merit_colour(address("ann")), len(leaves), merkle_root(leaves))
        path = inclusion_proof(leaves, index)
        verify_origin(made, merger, point, coin, index, path)
        for wrong in (
            (made, merger._replace(size=3), point, coin, index, path),
            (first, merger, point, coin, index, path),
            (made, merger, point, coin._replace(value_sat=coin.value_sat + 1), index, path),
            (made, merger, OutPoint(point.transaction_id, 1), coin, index, path),
        ):
            with pytest.raises(InvalidProof):
                verify_origin(*wrong)
    key = coin_key(first)
    verify_state_proof(at_first.root, key, at_first.get(key), at_first.prove(key))


@given(st.lists(st.integers(1, 3 * POINT), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_a_merger_is_the_transfer_of_all_to_one_output_in_any_order(credits_upt, random):
    """Of coins in one colour: the kernel of Eqs (3) to (6) agrees on owner, credit and colour."""
    ann, colour = address("ann"), merit_colour(address("ann"))
    coins = {
        OutPoint(bytes([index]) * 32, 0): CoinOutput(ann, c + 1_024, 1_024, colour)
        for index, c in enumerate(credits_upt)
    }
    shuffled = list(coins.items())
    random.shuffle(shuffled)
    change = merge(dict(shuffled), colour)
    assert change == merge(coins, colour)
    ((point, made),) = change.made
    sequence = make_sequence(Label.TRANSFER, made.padding_sat.bit_length() - 1 if made.padding_sat else 0)
    payments = [Payment(ann, made.value_sat)]
    same = transfer(coins, point.transaction_id, ann, inputs=change.spent, outputs=payments, sequence=sequence)
    assert same == change


# --- how much a block does ----------------------------------------------------------------------------


def test_a_block_spends_its_share_and_the_next_goes_on():
    members = tuple(f"m{index}" for index in range(30))
    bank = Bank(members=30)
    for name in members:
        for _ in range(10):
            bank.issue(name)
    bank.begin_period()
    spent = [sum(map(spent_by, bank.merged()))]
    while bank.state.get(b"credit/merging") is not None:
        bank.make_block()
        spent.append(sum(map(spent_by, bank.merged())))
    assert sum(spent) == 300
    assert max(spent) <= SHARE
    assert len(spent) <= 8
    assert all(bank.credits(name) == [10 * POINT] for name in members)


def test_the_next_block_is_due_at_once_while_a_round_is_at_work_and_else_with_the_next_period():
    bank = Bank(members=30)
    assert bank.next_due() == 2 * PERIOD_MS
    for name in [f"m{index}" for index in range(30)]:
        for _ in range(10):
            bank.issue(name)
    bank.begin_period()
    assert bank.next_due() == 0
    while bank.next_due() == 0:
        bank.make_block()
    assert bank.next_due() == 3 * PERIOD_MS
    assert all(bank.credits(f"m{index}") == [10 * POINT] for index in range(30))


def test_a_round_that_is_not_done_goes_on_through_the_next_snapshot():
    members = tuple(f"m{index}" for index in range(20))
    bank = Bank(members=20)
    for name in members:
        for _ in range(30):
            bank.issue(name)
    for _ in range(20):
        bank.begin_period()
    assert all(bank.credits(name) == [30 * POINT] for name in members)


def test_one_with_more_coins_than_a_block_takes_has_a_block_to_itself_and_its_turn_once():
    bank = Bank()
    for _ in range(3 * SHARE):
        bank.issue("ann")
    for owner in ("grid", "eve"):
        bank.issue(owner)
        bank.issue(owner)
    bank.begin_period()  # eve and ben, who were admitted after ann
    assert (len(bank.coins("ann")), len(bank.coins("eve"))) == (3 * SHARE, 1)
    bank.make_block()
    assert len(bank.coins("ann")) == 2 * SHARE + 1
    assert [spent_by(event) for event in bank.merged()] == [SHARE]
    bank.make_block()
    assert (len(bank.coins("ann")), len(bank.coins("grid"))) == (2 * SHARE + 1, 1)
    assert bank.state.get(b"credit/merging") is None
    for _ in range(6):
        bank.begin_period()
        bank.make_block()
    assert bank.credits("ann") == [3 * SHARE * POINT]


def test_a_block_spends_no_more_of_one_member_s_coins_of_all_colours_together():
    bank = Bank()
    for _ in range(SHARE // 2):
        bank.issue("ann")
        bank.issue("ben")
        bank.issue("eve")
    for owner in ("ben", "eve"):
        assert bank.send(owner, list(bank.coins(owner)), *[("ann", POINT)] * (SHARE // 2)) == ""
    assert len(bank.coins("ann")) == 3 * SHARE // 2
    bank.begin_period()
    bank.make_block()
    assert [spent_by(event) for event in bank.merged()] == [SHARE // 2, SHARE // 2]
    for _ in range(2):
        bank.begin_period()
        bank.make_block()
    assert bank.credits("ann") == [SHARE // 2 * POINT] * 3
    bank.check()


def test_who_splits_coins_faster_than_they_merge_keeps_nobody_waiting():
    bank = Bank()
    for _ in range(3):
        bank.issue("eve", 100 * POINT)
        bank.issue("ann")
        bank.issue("ann")
    for _ in range(3):
        bank.begin_period()
        for point, coin in list(bank.coins("eve").items())[:4]:
            rest = coin.credit_upt - 63 * LEAST
            if rest >= LEAST:
                assert bank.send("eve", [point], ("eve", rest), *[("eve", LEAST)] * 63) == ""
    assert bank.credits("ann") == [6 * POINT]
    assert sum(bank.credits("eve")) == 300 * POINT
    bank.check()


# --- how many there may be ----------------------------------------------------------------------------


def small_limits(monkeypatch):
    monkeypatch.setattr(assets, "MAX_ISSUED", 8)
    monkeypatch.setattr(assets, "MAX_MOVED", 8)


def test_no_assessment_expires_and_no_limit_is_passed(monkeypatch):
    small_limits(monkeypatch)
    bank = Bank()
    for index in range(30):
        bank.issue("ann", (index + 1) * POINT)
        assert len(bank.coins("ann")) <= 8
    assert sum(bank.credits("ann")) == 465 * POINT
    assert not any(event[0] == "coin-expired" for event in bank.events)
    bank.check()


def test_nobody_holds_more_coins_of_any_colour_than_the_limit(monkeypatch):
    """Neither of others' nor by splitting one's own; and what comes by assessment comes all the same."""
    small_limits(monkeypatch)
    bank = Bank()
    point = bank.issue("ann", 100 * POINT)
    pieces = [("ann", LEAST)] * 8
    assert bank.send("ann", [point], ("ann", 100 * POINT - 8 * LEAST), *pieces) == "TooManyCoins"
    assert bank.send("ann", [point], ("ann", 100 * POINT - 7 * LEAST), *pieces[:7]) == ""
    own = max(bank.coins("ann"), key=lambda point: bank.coins("ann")[point].credit_upt)
    dust = [("ben", LEAST)] * 9
    assert bank.send("ann", [own], ("ann", 100 * POINT - 16 * LEAST), *dust) == "TooManyCoins"
    assert bank.send("ann", [own], ("ann", 100 * POINT - 15 * LEAST), *dust[:8]) == ""
    for _ in range(20):
        bank.issue("ben")
        bank.issue("ann")
    assert (len(bank.coins("ann")), len(bank.coins("ben"))) == (8, 16)
    bank.begin_period()
    assert (len(bank.coins("ann")), len(bank.coins("ben"))) == (1, 2)
    bank.check()


# --- whatever happens ---------------------------------------------------------------------------------

steps = st.one_of(
    st.tuples(st.just("issue"), st.sampled_from(MEMBERS), st.integers(0, 100 * POINT)),
    st.tuples(
        st.just("send"), st.sampled_from(MEMBERS), st.sampled_from(MEMBERS), st.integers(0, 3), st.integers(1, 99)
    ),
    st.tuples(st.just("period")),
    st.tuples(st.just("block")),
)


@given(st.lists(steps, max_size=40))
def test_credit_of_every_colour_is_conserved(script):
    bank = Bank()
    for step in script:
        before = bank.by_colour()
        match step:
            case ("issue", owner, credit_upt):
                bank.issue(owner, credit_upt)
                before[merit_colour(address(owner))] += credit_upt
            case ("send", sender, receiver, which, percent):
                coins = sorted(bank.coins(sender).items())
                if which < len(coins):
                    point, coin = coins[which]
                    part = coin.credit_upt * percent // 100
                    bank.send(sender, [point], (receiver, part), (sender, coin.credit_upt - part))
            case ("period",):
                bank.begin_period()
            case ("block",):
                bank.make_block()
        assert bank.by_colour() == +before
        bank.check()
    bank.begin_period()
    for owner in MEMBERS:
        colours = [coin.colour for coin in bank.coins(owner).values()]
        assert len(colours) == len(set(colours))
