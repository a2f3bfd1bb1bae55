"""Coloured coins: the paper's numbers, worked transactions, and that only a genesis makes coins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import WrongShape
from market.credit.colored_coin import (
    DUST_SAT,
    CoinOutput,
    Label,
    OutPoint,
    Payment,
    apply_change,
    choose_padding_code,
    count_received,
    issue,
    label,
    make_sequence,
    padding,
    run_kernel,
    transfer,
)
from market.errors import (
    CreditNotConserved,
    MixedColours,
    NotYourCoin,
    OutputBelowMinimum,
    OutputBelowPadding,
    UnknownCoin,
    UnknownLabel,
)

ANN, BEN, EVE = (bytes([letter]) * 20 for letter in b"abe")
FINAL = 0xFFFFFFFF  # the sequence number of an ordinary input
GENESIS_16 = make_sequence(Label.GENESIS, 4)
TRANSFER_0 = make_sequence(Label.TRANSFER, 0)
TRANSFER_16 = make_sequence(Label.TRANSFER, 4)


# --- sequence numbers: Eqs (3) to (6) ------------------------------------------------------------


def test_the_labels_are_those_of_the_paper():
    assert Label.GENESIS == 0x25 == 0b100101 == 37
    assert Label.TRANSFER == 0x33 == 0b110011 == 51
    assert label(0x25) == Label.GENESIS
    assert label(0xABCDE000 | 0x33) == Label.TRANSFER
    assert label(FINAL) == 0x3F


@pytest.mark.parametrize(
    ("sequence", "want"),
    [
        (0x25, 0),  # code 0: no padding, not 2^0
        (0x40 | 0x33, 2),  # code 1
        (0x280 | 0x25, 1024),  # code 10
        (0xFC0, 2**63),  # code 63
        (0xFFFFF000 | 0x280, 1024),  # bits above the twelfth do not matter
    ],
)
def test_the_padding_code_is_bits_7_to_12_shifted_down(sequence, want):
    assert padding(sequence) == want


@pytest.mark.parametrize(
    ("kind", "code", "want"),
    [(Label.GENESIS, 0, 37), (Label.TRANSFER, 0, 51), (Label.GENESIS, 10, 0x2A5), (Label.TRANSFER, 10, 0x2B3)],
)
def test_sequences_by_hand(kind, code, want):
    assert make_sequence(kind, code) == want


@given(st.sampled_from(Label), st.integers(0, 63), st.integers(0, 2**20 - 1))
def test_a_sequence_says_what_it_was_made_of(kind, code, upper_bits):
    sequence = make_sequence(kind, code)
    assert sequence < 2**12
    assert label(sequence | upper_bits << 12) == kind
    assert padding(sequence | upper_bits << 12) == (2**code if code else 0)


def test_a_sequence_of_another_label_is_refused():
    with pytest.raises(UnknownLabel, match=r"0x3f, want 0x25 or 0x33"):
        make_sequence(0x3F, 0)


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_the_chosen_padding_is_the_least_that_reaches_the_minimum(coins, minimum):
    code = choose_padding_code(coins, minimum)
    assert coins + padding(code << 6) >= minimum
    assert code == 0 or coins + padding((code - 1) << 6) < minimum


def test_coins_received_are_the_value_less_the_padding():
    assert count_received(1034, make_sequence(Label.GENESIS, 10)) == 10
    assert count_received(1034, TRANSFER_0) == 1034
    with pytest.raises(OutputBelowPadding, match=r"1024 sat, it carries coins only above its padding of 1024"):
        count_received(1024, make_sequence(Label.TRANSFER, 10))
    with pytest.raises(UnknownLabel):
        count_received(1034, FINAL)


# --- the kernel ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "want"), [([26, 900], [10, None]), ([17], [1]), ([16, 900], [None, None]), ([5], [None]), ([], [])]
)
def test_a_genesis_puts_its_value_above_the_padding_into_the_first_output(outputs, want):
    assert run_kernel(True, [1000], outputs, [GENESIS_16], [None]) == want


def test_the_genesis_of_another_colour_makes_none_of_this_one_and_ends_what_it_spends():
    assert run_kernel(False, [26, 26], [26, 26], [GENESIS_16, FINAL], [10, 10]) == [None, None]


@pytest.mark.parametrize("sequences", [[FINAL], [0x26], [FINAL, TRANSFER_0], []])
def test_a_transaction_whose_first_input_is_not_labelled_loses_the_colour(sequences):
    count = len(sequences)
    assert run_kernel(True, [9] * count, [5, 4], sequences, [9] * count) == [None, None]


WORKED = {
    # inputs (value, coins), outputs, what becomes of them; padding 16
    "one coin, one owner": ([(26, 10)], [26], [10]),
    "split, and a fee from an ordinary input": ([(26, 10), (500, None)], [20, 22, 400], [4, 6, None]),
    "merged": ([(26, 10), (21, 5)], [31], [15]),
    "an output may take from two inputs": ([(26, 10), (21, 5)], [19, 25, 19], [3, 9, 3]),
    "all or nothing where an ordinary input is touched": ([(26, 10), (500, None)], [20, 23], [4, None]),
    "nothing after an ordinary input": ([(26, 10), (500, None), (26, 10)], [26, 500, 26], [10, None, None]),
    "an ordinary input in front": ([(500, None), (26, 10)], [26], [None]),
    "an output at its padding ends the colour": ([(26, 10)], [20, 16, 22], [4, None, None]),
    "what is not sent on is lost": ([(26, 10)], [20], [4]),
    "the padding of the input was another": ([(10, 10)], [26], [10]),
    "ten coins are not twelve": ([(26, 10), (500, None)], [22, 22], [6, None]),
}


@pytest.mark.parametrize(("inputs", "outputs", "want"), WORKED.values(), ids=WORKED)
def test_transfers_by_hand(inputs, outputs, want):
    values, coins = zip(*inputs, strict=True)
    sequences = [TRANSFER_16] + [FINAL] * (len(inputs) - 1)
    assert run_kernel(False, values, outputs, sequences, coins) == want


def test_two_colours_move_in_one_transaction():
    # red 10 | blue 5   ->   4 red | 6 red | 5 blue
    values, outputs, sequences, paddings = [26, 21], [20, 22, 21], [TRANSFER_16, FINAL], [16, 16]
    assert run_kernel(False, values, outputs, sequences, [10, None], paddings) == [4, 6, None]
    assert run_kernel(False, values, outputs, sequences, [None, 5], paddings) == [None, None, 5]
    # 4 red | 6 red and 1 blue, which is neither | 4 blue
    outputs = [20, 23, 20]
    assert run_kernel(False, values, outputs, sequences, [10, None], paddings) == [4, None, None]
    assert run_kernel(False, values, outputs, sequences, [None, 5], paddings) == [None, None, 4]


@st.composite
def transfers(draw: st.DrawFn) -> tuple[list[int], list[int], int, list[int | None], list[int | None]]:
    """(inputs, outputs, padding code, coins, paddings of the inputs) of a transfer, coloured or not."""
    inputs, coins, paddings = [], [], []
    for kind in draw(st.lists(st.sampled_from("ccco-"), max_size=6)):  # coloured, other colour, ordinary
        held, padded = draw(st.integers(1, 6)), draw(st.sampled_from([0, 2, 4]))
        inputs.append(held + padded)
        coins.append(held if kind == "c" else None)
        paddings.append(None if kind == "-" else padded)
    code = draw(st.integers(0, 2))
    outputs = draw(st.lists(st.integers(0, 8).map(lambda value: value + padding(code << 6)), max_size=6))
    return inputs, outputs, code, coins, paddings


def colour_unit_by_unit(inputs, outputs, padding_sat, coins, paddings) -> list[int | None]:
    """The rule read aloud: every unit on the line of inputs is of the colour or not, and so for each output's units."""
    line: list[bool] = []
    for value, held, padded in zip(inputs, coins, paddings, strict=True):
        if padded is None and held is None:
            break
        line += [held is not None] * (value - padded)
    found: list[int | None] = []
    used = 0
    for value in outputs:
        wanted = value - padding_sat
        if wanted <= 0:
            break
        units = line[used : used + wanted]
        found.append(wanted if len(units) == wanted and all(units) else None)
        used += wanted
    return found + [None] * (len(outputs) - len(found))


@given(transfers())
def test_the_kernel_colours_what_the_rule_says(drawn):
    inputs, outputs, code, coins, paddings = drawn
    sequences = [make_sequence(Label.TRANSFER, code)] * len(inputs)
    found = run_kernel(False, inputs, outputs, sequences, coins, paddings)
    if inputs:
        assert found == colour_unit_by_unit(inputs, outputs, padding(code << 6), coins, paddings)
    assert sum(value or 0 for value in found) <= sum(value or 0 for value in coins), "coins out of nothing"


# --- credit assets -------------------------------------------------------------------------------


def identify(number: int) -> bytes:
    return number.to_bytes(32, "big")


def hold(*changes) -> dict[OutPoint, CoinOutput]:
    coins: dict[OutPoint, CoinOutput] = {}
    for change in changes:
        coins = apply_change(coins, change)
    return coins


def test_an_assessment_becomes_a_coin_of_its_own_colour():
    change = issue(identify(1), ANN, 90_000_000)
    assert change.spent == ()
    assert change.made == ((OutPoint(identify(1), 0), CoinOutput(ANN, 90_000_000, 0, identify(1))),)


def test_a_small_assessment_is_padded_to_the_least_value():
    ((_, coin),) = issue(identify(1), ANN, 10).made
    assert (coin.value_sat, coin.padding_sat, coin.credit_upt) == (10 + 1024, 1024, 10)


def test_an_assessment_of_nothing_makes_no_coin():
    with pytest.raises(OutputBelowPadding):
        issue(identify(1), ANN, 0)


def test_a_transfer_pays_and_returns_the_change():
    # assessment 1 (90 points, ann) ── 60 points -> ben
    #                               └─ 30 points -> ann
    coins = hold(issue(identify(1), ANN, 90_000_000))
    change = transfer(
        coins,
        identify(2),
        ANN,
        inputs=list(coins),
        outputs=[Payment(BEN, 60_000_000), Payment(ANN, 30_000_000)],
        sequence=TRANSFER_0,
    )
    assert apply_change(coins, change) == {
        OutPoint(identify(2), 0): CoinOutput(BEN, 60_000_000, 0, identify(1)),
        OutPoint(identify(2), 1): CoinOutput(ANN, 30_000_000, 0, identify(1)),
    }


FIRST, SECOND, THEIRS = (OutPoint(identify(number), 0) for number in (1, 2, 3))
REFUSED = {
    "not a transfer": (UnknownLabel, [FIRST], [(BEN, 1000)], GENESIS_16),
    "no inputs": (WrongShape, [], [], TRANSFER_0),
    "an unknown coin": (UnknownCoin, [OutPoint(identify(1), 1)], [(BEN, 1000)], TRANSFER_0),
    "a coin named twice": (UnknownCoin, [FIRST, FIRST], [(BEN, 2000)], TRANSFER_0),
    "somebody else's coin": (NotYourCoin, [FIRST, THEIRS], [(BEN, 2000)], TRANSFER_0),
    "all padding": (OutputBelowPadding, [FIRST], [(BEN, 1016), (ANN, 16)], TRANSFER_16),
    "below the minimum": (OutputBelowMinimum, [FIRST], [(BEN, 1000 - 545), (ANN, 545)], TRANSFER_0),
    "too little sent on": (CreditNotConserved, [FIRST], [(BEN, 999)], TRANSFER_0),
    "more than there is": (CreditNotConserved, [FIRST], [(BEN, 600), (ANN, 600)], TRANSFER_0),
    "two assessments in one output": (MixedColours, [FIRST, SECOND], [(BEN, 1500), (ANN, 1500)], TRANSFER_0),
}


@pytest.mark.parametrize(("error", "inputs", "outputs", "sequence"), REFUSED.values(), ids=REFUSED)
def test_a_transfer_that_would_lose_credit_is_refused(error, inputs, outputs, sequence):
    coins = hold(issue(identify(1), ANN, 1000), issue(identify(2), ANN, 2000), issue(identify(3), EVE, 1000))
    payments = [Payment(*output) for output in outputs]
    with pytest.raises(error):
        transfer(coins, identify(9), ANN, inputs=inputs, outputs=payments, sequence=sequence)


def count_credit(coins: dict[OutPoint, CoinOutput]) -> dict[bytes, int]:
    """Micro-points by colour."""
    credit: dict[bytes, int] = {}
    for coin in coins.values():
        credit[coin.colour] = credit.get(coin.colour, 0) + coin.credit_upt
    return credit


@given(st.data())
def test_credit_moves_but_is_neither_made_nor_lost(data):
    coins = hold(*(issue(identify(n), ANN, data.draw(st.integers(2, 2000))) for n in range(3)))
    before = count_credit(coins)
    for number in range(10, 14):
        sender = data.draw(st.sampled_from([ANN, BEN, EVE]))
        own = [point for point, coin in coins.items() if coin.owner == sender]
        if not own:
            continue
        inputs = data.draw(st.lists(st.sampled_from(own), min_size=1, unique=True))
        sequence = make_sequence(Label.TRANSFER, data.draw(st.integers(10, 12)))
        outputs = []
        for point in inputs:  # each coin goes on whole or in two
            credit_upt = coins[point].credit_upt
            cut = data.draw(st.integers(0, credit_upt - 1))
            for part in filter(None, (cut, credit_upt - cut)):
                outputs.append(Payment(data.draw(st.sampled_from([ANN, BEN, EVE])), part + padding(sequence)))
        change = transfer(coins, identify(number), sender, inputs=inputs, outputs=outputs, sequence=sequence)
        received = [coin.credit_upt for _, coin in change.made]
        assert received == [count_received(payment.value_sat, sequence) for payment in outputs]
        coins = apply_change(coins, change)
        assert count_credit(coins) == before
        assert all(coin.value_sat >= DUST_SAT for coin in coins.values())
