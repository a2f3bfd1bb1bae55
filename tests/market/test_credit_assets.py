"""Credit assets on LH1: issued by assessments, moved by their owners, and never made or lost on the way."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode
from ledger.errors import AlreadyRecorded
from ledger.execution import BlockContext, Contracts, execute_body
from ledger.genesis import Genesis, GenesisMember, build_state
from ledger.overlay import Event, Overlay
from ledger.params import ChainParams
from ledger.signatures import SigningKey
from ledger.state import State, verify_state_proof
from ledger.transaction import Transaction, make_transaction
from market.colored_coin import DUST_SAT, CoinOutput, Label, OutPoint, choose_padding_code, make_sequence, padding
from market.credit_assets import (
    MAX_INPUTS,
    MAX_OUTPUTS,
    Assessment,
    Holding,
    coin_handlers,
    coin_key,
    decode_coin,
    get_coin,
    get_coins,
    get_holding,
    issue_assessment,
)
from market.orders import Side

POINT = 1_000_000
MEMBERS = ("ann", "ben", "eve")
PLAIN = make_sequence(Label.TRANSFER, 0)
PADDED = make_sequence(Label.TRANSFER, 10)
CONTRACTS = Contracts(handlers=coin_handlers())


@cache
def key_of(name: str) -> SigningKey:
    return SigningKey(name.encode().ljust(32, b"."))


def address(name: str) -> bytes:
    return key_of(name).address


@cache
def found_chain() -> tuple[Genesis, State]:
    grid = GenesisMember(name="grid", role="grid-operator", key=key_of("grid").public_key, seals=("*",))
    others = [GenesisMember(name=name, role="prosumer", key=key_of(name).public_key) for name in MEMBERS]
    genesis = Genesis(
        params=ChainParams(name="LH1", kind="credit"),
        time_ms=0,
        members=(grid, *others),
        siblings=(ChainParams(name="JY1"),),
    )
    return genesis, build_state(genesis)


class Purse:
    """LH1's credit assets: coins are issued at will and moved by transactions."""

    def __init__(self) -> None:
        self.genesis, self.state = found_chain()
        self.sequences = dict.fromkeys(("grid", *MEMBERS, "stranger"), 0)
        self.events: tuple[Event, ...] = ()
        self.last: Transaction | None = None

    def issue(self, owner: str, credit_upt: int, *, index: int = 0, period: int = 1) -> OutPoint:
        view = Overlay(self.state)
        assessment = Assessment("JY1", "delivered", period, index, Side.OFFER)
        issue_assessment(view, assessment, address(owner), credit_upt)
        view.commit()
        self.state, self.events = view.finish()[0], view.events
        return OutPoint(assessment.id, 0)

    def submit(self, sender: str, *payload: object) -> str:
        """The receipt's code; a transfer that is refused leaves nothing but its sender's next sequence."""
        self.last = make_transaction(
            key_of(sender),
            chain_id=self.genesis.chain_id,
            sequence=self.sequences[sender],
            expiry_height=1,
            kind="coin-transfer",
            payload=payload,  # type: ignore[arg-type]
        )
        block = BlockContext(
            params=self.genesis.params,
            chain_id=self.genesis.chain_id,
            genesis_time_ms=0,
            height=1,
            parent=bytes(32),
            producer=address("grid"),
            timestamp_ms=1,
            period=0,
            is_first_of_period=False,
        )
        execution = execute_body(self.state, block, [self.last], CONTRACTS)
        self.sequences[sender] += 1
        self.state, self.events = execution.state, execution.events
        code = execution.receipts[0].code
        assert not code or (len(execution.delta.changes) == 1 and execution.events == ())
        return code

    def move(self, sender: str, inputs: list[OutPoint], *outputs: tuple[str, int], sequence: int = PLAIN) -> str:
        """Outputs are (owner, credit), padded as the sequence says."""
        lifted = tuple((address(owner), credit + padding(sequence)) for owner, credit in outputs)
        return self.submit(sender, tuple(map(tuple, inputs)), lifted, sequence)

    def made(self, index: int) -> OutPoint:
        """An output of the last transaction."""
        assert self.last is not None
        return OutPoint(self.last.id, index)

    def coins(self, owner: str) -> dict[OutPoint, CoinOutput]:
        return dict(get_coins(self.state, address(owner)))

    def credits(self, owner: str) -> list[int]:
        return [coin.credit_upt for coin in self.coins(owner).values()]

    def check(self) -> None:
        """Holdings, chains of coins and coin values must tell the same."""
        names = {key for key, _ in self.state.items() if key.startswith(b"credit/coin/")}
        for owner in MEMBERS:
            coins = self.coins(owner)
            holding = get_holding(self.state, address(owner))
            assert (holding.coins, holding.credit_upt) == (len(coins), sum(self.credits(owner)))
            for point, coin in coins.items():
                assert coin.owner == address(owner)
                assert get_coin(self.state, point) == coin
                names.remove(coin_key(point))
        assert not names


@pytest.fixture
def purse() -> Purse:
    return Purse()


# --- issue ----------------------------------------------------------------------------------------


def test_an_assessment_is_a_coin_of_its_own_colour(purse):
    point = purse.issue("ann", 90 * POINT)
    assert purse.coins("ann") == {point: CoinOutput(address("ann"), 90 * POINT, 0, point.transaction_id)}
    assert purse.events == (("coin-issued", point.transaction_id, address("ann"), 90 * POINT),)
    assert get_holding(purse.state, address("ann"))[:2] == (1, 90 * POINT)


def test_little_credit_is_padded_to_the_least_value(purse):
    point = purse.issue("ann", 1)
    coin = purse.coins("ann")[point]
    assert (coin.value_sat, coin.padding_sat) == (1_025, 1_024)


def test_no_credit_is_no_coin(purse):
    before = purse.state.root
    purse.issue("ann", 0)
    assert (purse.state.root, purse.events) == (before, ())


def test_an_assessment_is_issued_once(purse):
    purse.issue("ann", POINT)
    with pytest.raises(AlreadyRecorded):
        purse.issue("ann", POINT)


def test_every_part_of_its_name_tells_an_assessment_from_others():
    one = Assessment("JY1", "delivered", 3, 4, Side.BID)
    others = [
        one._replace(source="JY2"),
        one._replace(kind="x"),
        one._replace(number=4),
        one._replace(trade_index=3),
        one._replace(side=Side.OFFER),
    ]
    assert len({one.id, *(other.id for other in others)}) == 6


# --- transfer -------------------------------------------------------------------------------------


def test_a_coin_moves_and_change_comes_back(purse):
    point = purse.issue("ann", 90 * POINT)
    assert purse.move("ann", [point], ("ben", 60 * POINT), ("ann", 30 * POINT)) == ""
    colour = point.transaction_id
    assert purse.coins("ben") == {purse.made(0): CoinOutput(address("ben"), 60 * POINT, 0, colour)}
    assert purse.coins("ann") == {purse.made(1): CoinOutput(address("ann"), 30 * POINT, 0, colour)}
    assert get_coin(purse.state, point) is None
    inputs, outputs = (tuple(point),), ((address("ben"), 60 * POINT), (address("ann"), 30 * POINT))
    assert purse.events == (("coins-moved", purse.last.id, address("ann"), inputs, outputs),)
    purse.check()


def test_spending_everything_leaves_no_trace(purse):
    size = len(purse.state)
    point = purse.issue("ann", POINT)
    assert len(purse.state) == size + 2  # the coin, and what ann holds
    purse.move("ann", [point], ("ben", POINT))
    assert len(purse.state) == size + 2
    assert get_holding(purse.state, address("ann")) == Holding()


@pytest.mark.parametrize("position", range(4))
def test_a_coin_leaves_its_owners_chain_wherever_it_stands(purse, position):
    points = [purse.issue("ann", (index + 1) * POINT, index=index) for index in range(4)]
    assert purse.credits("ann") == [4 * POINT, 3 * POINT, 2 * POINT, POINT]
    assert purse.move("ann", [points[position]], ("ben", (position + 1) * POINT)) == ""
    assert list(purse.coins("ann")) == [point for point in reversed(points) if point != points[position]]
    purse.check()


def test_what_a_move_touches_does_not_grow_with_the_coins_held(purse):
    points = [purse.issue("ann", POINT, index=index) for index in range(300)]
    before = dict(purse.state.items())
    purse.move("ann", [points[150]], ("ben", POINT))
    after = dict(purse.state.items())
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    # coin spent and coin made, two neighbours, two holdings, the sender's sequence
    assert len(changed) == 7
    assert len(get_coins(purse.state, address("ann"), limit=5)) == 5


def test_a_light_client_can_check_a_coin(purse):
    point = purse.issue("ann", 90 * POINT)
    key = coin_key(point)
    value = purse.state.get(key)
    verify_state_proof(purse.state.root, key, value, purse.state.prove(key))
    assert decode_coin(decode(value, max_bytes=1_000)) == purse.coins("ann")[point]


# --- what is refused ------------------------------------------------------------------------------

FIRST, SECOND, THEIRS = (tuple(OutPoint(Assessment("JY1", "delivered", 1, i, Side.OFFER).id, 0)) for i in range(3))
ANN, BEN = address("ann"), address("ben")
REFUSED = {
    "a genesis": ("UnknownLabel", [FIRST], [(BEN, 1000)], make_sequence(Label.GENESIS, 0)),
    "no inputs": ("WrongShape", [], [], PLAIN),
    "an unknown coin": ("UnknownCoin", [(FIRST[0], 1)], [(BEN, 1000)], PLAIN),
    "a coin twice": ("UnknownCoin", [FIRST, FIRST], [(BEN, 2000)], PLAIN),
    "somebody else's coin": ("NotYourCoin", [FIRST, THEIRS], [(BEN, 2000)], PLAIN),
    "colored outputs below padding": ("OutputBelowPadding", [FIRST], [(BEN, 2024), (ANN, 1023)], PADDED),
    "outputs at their padding": ("OutputBelowPadding", [FIRST], [(BEN, 2024), (ANN, 1024)], PADDED),
    "the largest padding": ("OutputBelowPadding", [FIRST], [(BEN, 2**63 - 1)], make_sequence(Label.TRANSFER, 63)),
    "below the minimum": ("OutputBelowMinimum", [FIRST], [(BEN, 1000 - 545), (ANN, 545)], PLAIN),
    "too little sent on": ("CreditNotConserved", [FIRST], [(BEN, 999)], PLAIN),
    "nothing sent on": ("CreditNotConserved", [FIRST], [], PLAIN),
    "more than there is": ("CreditNotConserved", [FIRST], [(BEN, 600), (ANN, 600)], PLAIN),
    "two assessments in one output": ("MixedColours", [FIRST, SECOND], [(BEN, 1500), (ANN, 1500)], PLAIN),
    "to a stranger": ("UnknownMember", [FIRST], [(address("stranger"), 1000)], PLAIN),
    "too many inputs": ("TooLarge", [FIRST] * (MAX_INPUTS + 1), [(BEN, 1000)], PLAIN),
    "too many outputs": ("TooLarge", [FIRST], [(BEN, 1000)] * (MAX_OUTPUTS + 1), PLAIN),
    "a short id": ("WrongShape", [(FIRST[0][:31], 0)], [(BEN, 1000)], PLAIN),
    "a negative index": ("WrongShape", [(FIRST[0], -1)], [(BEN, 1000)], PLAIN),
    "an index of 17 bits": ("WrongShape", [(FIRST[0], 2**16)], [(BEN, 1000)], PLAIN),
    "a short owner": ("WrongShape", [FIRST], [(BEN[:19], 1000)], PLAIN),
    "a negative value": ("WrongShape", [FIRST], [(BEN, -1)], PLAIN),
    "a sequence of 33 bits": ("WrongShape", [FIRST], [(BEN, 1000)], 2**32 | PLAIN),
    "text for a sequence": ("WrongShape", [FIRST], [(BEN, 1000)], "0x33"),
    "an input of three": ("WrongShape", [(*FIRST, 0)], [(BEN, 1000)], PLAIN),
}


@pytest.mark.parametrize(("code", "inputs", "outputs", "sequence"), REFUSED.values(), ids=REFUSED)
def test_a_transfer_that_breaks_a_rule_moves_nothing(purse, code, inputs, outputs, sequence):
    purse.issue("ann", 1000, index=0)
    purse.issue("ann", 2000, index=1)
    purse.issue("eve", 1000, index=2)
    assert purse.submit("ann", tuple(inputs), tuple(outputs), sequence) == code
    purse.check()


@pytest.mark.parametrize("payload", [(), ((), ()), ((), (), PLAIN, 0), (5, (), PLAIN), ((), 5, PLAIN)])
def test_a_transfer_of_another_shape_is_refused(purse, payload):
    assert purse.submit("ann", *payload) == "WrongShape"


def test_a_coin_is_spent_once(purse):
    point = purse.issue("ann", POINT)
    assert purse.move("ann", [point], ("ben", POINT)) == ""
    assert purse.move("ann", [point], ("eve", POINT)) == "UnknownCoin"


# --- properties -----------------------------------------------------------------------------------


def count_credit(purse: Purse) -> dict[bytes, int]:
    """Micro-points by colour, over all members."""
    credit: dict[bytes, int] = {}
    for owner in MEMBERS:
        for coin in purse.coins(owner).values():
            credit[coin.colour] = credit.get(coin.colour, 0) + coin.credit_upt
            assert coin.value_sat >= DUST_SAT
    return credit


@given(st.data())
def test_credit_moves_but_is_neither_made_nor_lost(data):
    purse = Purse()
    for index in range(3):
        purse.issue("ann", data.draw(st.integers(2, 2_000)), index=index)
    before = count_credit(purse)
    for _ in range(5):
        sender = data.draw(st.sampled_from(MEMBERS))
        own = purse.coins(sender)
        if not own:
            continue
        inputs = data.draw(st.lists(st.sampled_from(list(own)), min_size=1, unique=True))
        outputs = []
        for point in inputs:  # each coin goes on whole or in two
            credit_upt = own[point].credit_upt
            cut = data.draw(st.integers(0, credit_upt - 1))
            outputs += [(data.draw(st.sampled_from(MEMBERS)), part) for part in (cut, credit_upt - cut) if part]
        least = choose_padding_code(min(credit for _, credit in outputs))
        sequence = make_sequence(Label.TRANSFER, least)
        assert purse.move(sender, inputs, *outputs, sequence=sequence) == ""
        assert count_credit(purse) == before
        purse.check()


@given(st.lists(st.tuples(st.sampled_from(MEMBERS), st.integers(0, 3_000)), max_size=6), st.integers(0, 12))
def test_no_transfer_makes_or_loses_credit_whatever_it_asks_for(outputs, code):
    purse = Purse()
    points = [purse.issue("ann", credit, index=index) for index, credit in enumerate((1_000, 2_000))]
    before = count_credit(purse)
    purse.move("ann", points, *outputs, sequence=make_sequence(Label.TRANSFER, code))
    assert count_credit(purse) == before
    purse.check()
