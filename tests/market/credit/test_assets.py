"""Credit assets on LH1: issued by assessments, moved by their owners, and never made or lost on the way."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode
from ledger.contract import BlockContext, Contracts
from ledger.errors import AlreadyRecorded
from ledger.execution import execute_body
from ledger.genesis import Genesis, GenesisMember, build_state
from ledger.overlay import Event, Overlay
from ledger.params import ChainParams
from ledger.state import State, verify_state_proof
from ledger.transaction import Transaction, make_transaction
from market.credit.assets import (
    MAX_INPUTS,
    MAX_ISSUED,
    MAX_MOVED,
    MAX_OUTPUTS,
    MIN_TRANSFER_UPT,
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
from market.credit.colored_coin import (
    DUST_SAT,
    CoinOutput,
    Label,
    OutPoint,
    choose_padding_code,
    make_sequence,
    padding,
)
from market.orders import Side
from tests.support.keys import address, key_of

POINT = 1_000_000
LEAST = MIN_TRANSFER_UPT
MEMBERS = ("ann", "ben", "eve")
PLAIN = make_sequence(Label.TRANSFER, 0)
PADDED = make_sequence(Label.TRANSFER, 10)
CONTRACTS = Contracts(handlers=coin_handlers())


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
    return genesis, execute_body(build_state(genesis), make_context(genesis), [], CONTRACTS).state


def make_context(genesis: Genesis) -> BlockContext:
    return BlockContext(
        params=genesis.params,
        chain_id=genesis.chain_id,
        genesis_time_ms=0,
        height=1,
        parent=bytes(32),
        producer=address("grid"),
        timestamp_ms=1,
        period=0,
        is_first_of_period=False,
    )


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
        execution = execute_body(self.state, make_context(self.genesis), [self.last], CONTRACTS)
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
        assert all(len(self.coins(owner)) <= MAX_ISSUED + MAX_MOVED for owner in MEMBERS)
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
    # coin spent and coin made, two neighbours, two chains' ends, the sender's sequence
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
    "a genesis": ("UnknownLabel", [FIRST], [(BEN, POINT)], make_sequence(Label.GENESIS, 0)),
    "no inputs": ("WrongShape", [], [], PLAIN),
    "an unknown coin": ("UnknownCoin", [(FIRST[0], 1)], [(BEN, POINT)], PLAIN),
    "a coin twice": ("UnknownCoin", [FIRST, FIRST], [(BEN, 2 * POINT)], PLAIN),
    "somebody else's coin": ("NotYourCoin", [FIRST, THEIRS], [(BEN, 2 * POINT)], PLAIN),
    "colored outputs below padding": ("OutputBelowPadding", [FIRST], [(BEN, POINT + 1024), (ANN, 1023)], PADDED),
    "outputs at their padding": ("OutputBelowPadding", [FIRST], [(BEN, POINT + 1024), (ANN, 1024)], PADDED),
    "the largest padding": ("OutputBelowPadding", [FIRST], [(BEN, 2**63 - 1)], make_sequence(Label.TRANSFER, 63)),
    "below the minimum": ("OutputBelowMinimum", [FIRST], [(BEN, POINT - 545), (ANN, 545)], PLAIN),
    "too little to be a coin": ("CreditBelowMinimum", [FIRST], [(BEN, POINT - LEAST + 1), (ANN, LEAST - 1)], PLAIN),
    "padding does not count as credit": ("CreditBelowMinimum", [FIRST], [(BEN, LEAST + 1023)], PADDED),
    "too little sent on": ("CreditNotConserved", [FIRST], [(BEN, POINT - 1)], PLAIN),
    "nothing sent on": ("CreditNotConserved", [FIRST], [], PLAIN),
    "more than there is": ("CreditNotConserved", [FIRST], [(BEN, POINT - LEAST), (ANN, LEAST + 1)], PLAIN),
    "two assessments in one output": (
        "MixedColours",
        [FIRST, SECOND],
        [(BEN, 3 * POINT // 2), (ANN, 3 * POINT // 2)],
        PLAIN,
    ),
    "to a stranger": ("UnknownMember", [FIRST], [(address("stranger"), POINT)], PLAIN),
    "too many inputs": ("TooLarge", [FIRST] * (MAX_INPUTS + 1), [(BEN, POINT)], PLAIN),
    "too many outputs": ("TooLarge", [FIRST], [(BEN, POINT)] * (MAX_OUTPUTS + 1), PLAIN),
    "a short id": ("WrongShape", [(FIRST[0][:31], 0)], [(BEN, POINT)], PLAIN),
    "a negative index": ("WrongShape", [(FIRST[0], -1)], [(BEN, POINT)], PLAIN),
    "an index of 17 bits": ("WrongShape", [(FIRST[0], 2**16)], [(BEN, POINT)], PLAIN),
    "a short owner": ("WrongShape", [FIRST], [(BEN[:19], 1000)], PLAIN),
    "a negative value": ("WrongShape", [FIRST], [(BEN, -1)], PLAIN),
    "a sequence of 33 bits": ("WrongShape", [FIRST], [(BEN, POINT)], 2**32 | PLAIN),
    "text for a sequence": ("WrongShape", [FIRST], [(BEN, POINT)], "0x33"),
    "an input of three": ("WrongShape", [(*FIRST, 0)], [(BEN, POINT)], PLAIN),
}


@pytest.mark.parametrize(("code", "inputs", "outputs", "sequence"), REFUSED.values(), ids=REFUSED)
def test_a_transfer_that_breaks_a_rule_moves_nothing(purse, code, inputs, outputs, sequence):
    purse.issue("ann", POINT, index=0)
    purse.issue("ann", 2 * POINT, index=1)
    purse.issue("eve", POINT, index=2)
    assert purse.submit("ann", tuple(inputs), tuple(outputs), sequence) == code
    purse.check()


@pytest.mark.parametrize("payload", [(), ((), ()), ((), (), PLAIN, 0), (5, (), PLAIN), ((), 5, PLAIN)])
def test_a_transfer_of_another_shape_is_refused(purse, payload):
    assert purse.submit("ann", *payload) == "WrongShape"


def test_a_coin_is_spent_once(purse):
    point = purse.issue("ann", POINT)
    assert purse.move("ann", [point], ("ben", POINT)) == ""
    assert purse.move("ann", [point], ("eve", POINT)) == "UnknownCoin"


# --- how many there may be ------------------------------------------------------------------------


def split(purse, owner, point, *, to):
    """Turn a coin into as many of the least credit as one transaction makes, the first of them to `owner`."""
    coin = purse.coins(owner)[point]
    small = [(to, LEAST)] * (min(MAX_OUTPUTS, coin.credit_upt // LEAST) - 1)
    return purse.move(owner, [point], (owner, coin.credit_upt - LEAST * len(small)), *small)


def test_one_assessment_is_so_many_coins_and_no_more(purse):
    point = purse.issue("ann", 3 * LEAST)
    assert purse.move("ann", [point], *[("ann", LEAST)] * 3) == ""
    for own in purse.coins("ann"):
        assert purse.move("ann", [own], ("ben", LEAST - 1), ("ann", 1), sequence=PADDED) == "CreditBelowMinimum"
    assert purse.credits("ann") == [LEAST] * 3


def test_a_coin_below_the_least_stays_where_it_was_issued(purse):
    point = purse.issue("ann", LEAST - 1)
    assert purse.move("ann", [point], ("ben", LEAST - 1)) == "CreditBelowMinimum"
    assert purse.credits("ann") == [LEAST - 1]


def test_transfers_fill_a_purse_so_far_and_no_further(purse):
    point = purse.issue("eve", 100 * POINT)
    while len(purse.coins("ben")) + MAX_OUTPUTS - 1 <= MAX_MOVED:
        assert split(purse, "eve", point, to="ben") == ""
        point = purse.made(0)
    assert split(purse, "eve", point, to="ben") == "TooManyCoins"
    purse.check()
    room = MAX_MOVED - len(purse.coins("ben"))
    rest = purse.coins("eve")[point].credit_upt - LEAST * room
    assert purse.move("eve", [point], ("eve", rest), *[("ben", LEAST)] * room) == ""
    point = purse.made(0)
    assert len(purse.coins("ben")) == MAX_MOVED
    assert purse.move("eve", [point], ("eve", rest - LEAST), ("ben", LEAST)) == "TooManyCoins"
    purse.check()

    # Who has a full purse still earns, moves coins whole, and makes room by merging those of one colour.
    earned = purse.issue("ben", 90 * POINT, period=2)
    assert purse.move("ben", [earned], ("ben", 45 * POINT), ("eve", 45 * POINT)) == "TooManyCoins"
    dust = list(purse.coins("ben"))[:MAX_INPUTS]
    assert purse.move("ben", dust, ("ben", LEAST * MAX_INPUTS)) == ""
    assert purse.move("ben", [earned], ("ben", 45 * POINT), ("eve", 45 * POINT)) == ""
    assert len(purse.coins("ben")) == MAX_MOVED - MAX_INPUTS + 2
    purse.check()


def test_of_what_assessments_issued_the_newest_coins_stay(purse):
    gift = purse.issue("eve", POINT, period=3)
    assert purse.move("eve", [gift], ("ann", POINT)) == ""
    given = purse.made(0)
    issued = [purse.issue("ann", POINT, index=index) for index in range(MAX_ISSUED)]
    assert len(purse.coins("ann")) == MAX_ISSUED + 1
    size = len(purse.state)
    newest = purse.issue("ann", POINT, period=2)
    assert [event[0] for event in purse.events] == ["coin-issued", "coin-expired"]
    assert purse.events[1] == ("coin-expired", issued[0].transaction_id, address("ann"), POINT)
    assert list(purse.coins("ann")) == [given, newest, *reversed(issued[1:])]
    assert len(purse.state) == size
    assert purse.move("ann", [issued[1]], ("ben", POINT)) == ""  # the end of the chain follows
    purse.issue("ann", POINT, period=4)
    assert purse.issue("ann", POINT, period=5) in purse.coins("ann")
    assert purse.events[1][:2] == ("coin-expired", issued[2].transaction_id)
    purse.check()


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
        purse.issue("ann", data.draw(st.integers(LEAST, 5 * LEAST)), index=index)
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
            cut = data.draw(st.one_of(st.just(0), st.integers(LEAST, max(LEAST, credit_upt - LEAST))))
            parts = (cut, credit_upt - cut) if credit_upt - cut >= LEAST else (credit_upt,)
            outputs += [(data.draw(st.sampled_from(MEMBERS)), part) for part in parts if part]
        least = choose_padding_code(min(credit for _, credit in outputs))
        sequence = make_sequence(Label.TRANSFER, data.draw(st.sampled_from([least, 10])))
        assert purse.move(sender, inputs, *outputs, sequence=sequence) == ""
        assert count_credit(purse) == before
        purse.check()


@given(st.lists(st.tuples(st.sampled_from(MEMBERS), st.integers(0, 3 * LEAST)), max_size=6), st.integers(0, 12))
def test_no_transfer_makes_or_loses_credit_whatever_it_asks_for(outputs, code):
    purse = Purse()
    points = [purse.issue("ann", credit, index=index) for index, credit in enumerate((2 * LEAST, 4 * LEAST))]
    before = count_credit(purse)
    purse.move("ann", points, *outputs, sequence=make_sequence(Label.TRANSFER, code))
    assert count_credit(purse) == before
    purse.check()
