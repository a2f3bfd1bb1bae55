"""Credit as coloured coins (text 000, §4.1): the labels of Eqs (3)-(6), the EPOBC kernel, issue and transfer.

EPOBC is *enhanced padded order-based colouring*, a scheme for bitcoin transactions: the sequence number of the first
input says what a transaction does with coins and how many satoshis of each output are mere padding, and the order of
inputs and outputs says which coins go where. Here one coin is one micro-point of credit, and its colour is the
genesis transaction that recorded the assessment. A chain without bitcoins has no use for a satoshi as money: values
are nominal and only their coins are conserved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from ledger.codec import encode
from ledger.errors import InvalidProof, WrongShape
from ledger.hashing import Address, show_address, tagged_hash
from ledger.merkle import merkle_root, verify_inclusion
from market.errors import (
    CreditBelowMinimum,
    CreditNotConserved,
    MixedColours,
    NotYourCoin,
    OutputBelowMinimum,
    OutputBelowPadding,
    UnknownCoin,
    UnknownLabel,
)

DUST_SAT = 546  # the least a bitcoin node relays in an output to a public key hash
MAX_PADDING_CODE = 0x3F

_MERIT_TAG = "gridmerit/credit/merit"
_MERGER_TAG = "gridmerit/credit/merger"
_LABEL_MASK = 0x3F
_PADDING_MASK = 0xFC0
_PADDING_SHIFT = 6


class Label(IntEnum):
    """The effect of a transaction on coins: the values of Eq. (3)."""

    GENESIS = 0x25
    TRANSFER = 0x33


_LABELS = frozenset(Label)
_EITHER = f"{Label.GENESIS:#x} or {Label.TRANSFER:#x}"


# --- sequence numbers ----------------------------------------------------------------------------


def label(sequence: int) -> int:
    """Eq. (3) of text 000: bits 1-6 of a sequence number, one of `Label` where the transaction moves coins.

    The paper prints the transfer label as binary 11011 and as 0x33, which is 110011; EPOBC has the latter.
    """
    return sequence & _LABEL_MASK


def padding(sequence: int) -> int:
    """Eqs (5) and (6) of text 000: how many satoshis of every output are padding.

    Eq. (5) leaves bits 7-12 where they stand, which would pad with 2^64 at least; as in EPOBC they are a code once
    shifted down, and code 0 is no padding rather than 1.
    """
    code = (sequence & _PADDING_MASK) >> _PADDING_SHIFT
    return 1 << code if code else 0


def make_sequence(kind: int, padding_code: int) -> int:
    """The 32-bit sequence number with this label and padding code (0 … 63). Raises `UnknownLabel`.

    Bits 13-32 are zero, as EPOBC writes them; readers ignore them. On bitcoin, a transaction of version 2 would have
    to set bit 32 (BIP 68: no relative lock time), since the low bits would count as blocks to wait; EPOBC is older
    than that and writes version 1, and here nothing reads a sequence number as a lock time.
    """
    if kind not in _LABELS:
        raise UnknownLabel(actual=kind, expected=_EITHER)
    assert 0 <= padding_code <= MAX_PADDING_CODE, "a padding code has six bits"
    return kind | padding_code << _PADDING_SHIFT


def choose_padding_code(coins: int, min_value_sat: int = DUST_SAT) -> int:
    """The least padding code that lifts an output with so many coins to the least value allowed."""
    missing_sat = min_value_sat - coins
    return max(1, (missing_sat - 1).bit_length()) if missing_sat > 0 else 0


def count_received(value_sat: int, sequence: int) -> int:
    """Eq. (4) of text 000, solved for Ve: the coins in an output of this value, if the kernel colours it.

    Raises `UnknownLabel`, and `OutputBelowPadding` where nothing is left.
    """
    if label(sequence) not in _LABELS:
        raise UnknownLabel(actual=label(sequence), expected=_EITHER)
    return _count_coins(0, value_sat, padding(sequence))


# --- the kernel ----------------------------------------------------------------------------------


def run_kernel(
    genesis: bool,
    inputs: Sequence[int],
    outputs: Sequence[int],
    sequences: Sequence[int],
    in_values: Sequence[int | None],
    in_paddings: Sequence[int | None] | None = None,
) -> list[int | None]:
    """The coins of one colour that each output of a transaction holds; None is uncoloured.

    `genesis` says whether this transaction is the colour's own genesis, `inputs` and `outputs` are values in
    satoshis, `sequences` the inputs' sequence numbers, of which the first is the transaction's tag, and `in_values`
    the coins of this colour in each input. `in_paddings` holds the padding of the transaction that made each input,
    None where that one was untagged: it is needed where an input of another colour stands before coins of this one.

    A genesis transaction puts its coins, the value less the padding, into its first output. A transfer lays inputs
    and outputs along one line, each as long as its value less its padding; an output is of the colour when all of
    its stretch is, and uncoloured otherwise. An input of unknown length ends the line, and so does an output that
    does not exceed its padding: what comes after is uncoloured.

    Published EPOBC asks only that the inputs an output *touches* be coloured and hold enough. So the last of them may
    serve an output that reaches beyond it, although its coins went to the output before: ten coins, sent as six and
    six, would be twelve. Here such an output is uncoloured, and coins are never made but by a genesis.
    """
    paddings = (None,) * len(inputs) if in_paddings is None else in_paddings
    assert len(inputs) == len(sequences) == len(in_values) == len(paddings), "each input has its tag and its coins"
    tag = label(sequences[0]) if sequences else None
    padding_sat = padding(sequences[0]) if sequences else 0
    values: list[int | None] = [None] * len(outputs)
    if tag == Label.GENESIS:
        if genesis and outputs and outputs[0] > padding_sat:
            values[0] = outputs[0] - padding_sat
    elif tag == Label.TRANSFER:
        _colour_outputs(values, outputs, padding_sat, _find_stretches(inputs, in_values, paddings))
    return values


def _colour_outputs(
    values: list[int | None], outputs: Sequence[int], padding_sat: int, stretches: list[tuple[int, int]]
) -> None:
    """Fill in the coins of every output that lies within a stretch."""
    start = passed = 0
    for index, value_sat in enumerate(outputs):
        coins = value_sat - padding_sat
        if coins <= 0:
            return
        end = start + coins
        while passed < len(stretches) and stretches[passed][1] <= start:
            passed += 1
        if passed == len(stretches):
            return
        if stretches[passed][0] <= start and end <= stretches[passed][1]:
            values[index] = coins
        start = end


def _find_stretches(
    inputs: Sequence[int], in_values: Sequence[int | None], in_paddings: Sequence[int | None]
) -> list[tuple[int, int]]:
    """The parts of the line of inputs that are of the colour, in order; those that adjoin are one."""
    stretches: list[tuple[int, int]] = []
    start = 0
    for value_sat, coins, padding_sat in zip(inputs, in_values, in_paddings, strict=True):
        if coins is None:
            if padding_sat is None or value_sat <= padding_sat:
                break
            start += value_sat - padding_sat
            continue
        assert 0 < coins <= value_sat, "a coloured input holds coins, at most its value"
        assert padding_sat is None or coins == value_sat - padding_sat, "an input's coins are its value less padding"
        if stretches and stretches[-1][1] == start:
            stretches[-1] = (stretches[-1][0], start + coins)
        else:
            stretches.append((start, start + coins))
        start += coins
    return stretches


# --- credit assets -------------------------------------------------------------------------------


class OutPoint(NamedTuple):
    """Names an output: the transaction that made it, and which of its outputs."""

    transaction_id: bytes
    output_index: int


class CoinOutput(NamedTuple):
    """An unspent output that holds credit of one assessment."""

    owner: Address
    value_sat: int
    padding_sat: int
    colour: bytes  # id of the genesis transaction, which recorded the assessment, or `merit_colour` of who earned it

    @property
    def credit_upt(self) -> int:
        """Its coins, in micro-points."""
        return self.value_sat - self.padding_sat


class Payment(NamedTuple):
    """An output as a transaction states it."""

    owner: Address
    value_sat: int


class CoinChange(NamedTuple):
    """The effect of one transaction on the set of unspent coins."""

    spent: tuple[OutPoint, ...]
    made: tuple[tuple[OutPoint, CoinOutput], ...]


class Merger(NamedTuple):
    """The making of one coin from others of its owner, by digest: it names the coin, and leads to those it was made of.

    The root is that of RFC 6962 over `merger_leaf` of each, ascending by name.
    """

    owner: Address
    colour: bytes
    size: int  # the coins spent
    root: bytes

    @property
    def point(self) -> OutPoint:
        """The name of the coin that was made."""
        return OutPoint(tagged_hash(_MERGER_TAG, encode(tuple(self))), 0)


@lru_cache(maxsize=1_024)
def merit_colour(owner: Address) -> bytes:
    """The colour of all credit that a member has earned, on a chain that merges coins."""
    return tagged_hash(_MERIT_TAG, owner)


def issue(
    transaction_id: bytes,
    owner: Address,
    credit_upt: int,
    *,
    min_value_sat: int = DUST_SAT,
    colour: bytes | None = None,
) -> CoinChange:
    """Record an assessment as coins, of their own colour unless one is given, with the least padding the value needs.

    Raises `OutputBelowPadding` where the assessment gave no credit: there is nothing to own.
    """
    sequence = make_sequence(Label.GENESIS, choose_padding_code(credit_upt, min_value_sat))
    padding_sat = padding(sequence)
    if credit_upt <= 0:
        raise OutputBelowPadding(index=0, value=credit_upt + padding_sat, padding=padding_sat)
    coin = CoinOutput(owner, credit_upt + padding_sat, padding_sat, colour or transaction_id)
    return CoinChange(spent=(), made=((OutPoint(transaction_id, 0), coin),))


def transfer(
    coins: Mapping[OutPoint, CoinOutput],
    transaction_id: bytes,
    sender: Address,
    *,
    inputs: Sequence[OutPoint],
    outputs: Sequence[Payment],
    sequence: int,
    min_value_sat: int = DUST_SAT,
    min_credit_upt: int = 1,
) -> CoinChange:
    """Move all credit of the sender's `inputs` to `outputs`, in order; change is an output like any other.

    `coins` need hold no more than the inputs. What the kernel would leave uncoloured, and so destroy, is refused:
    raises `UnknownLabel`, `WrongShape` (no inputs), `UnknownCoin` (also an input named twice), `NotYourCoin`,
    `OutputBelowPadding`, `OutputBelowMinimum`, `CreditBelowMinimum`, `CreditNotConserved` or `MixedColours`.
    """
    if label(sequence) != Label.TRANSFER:
        raise UnknownLabel(actual=label(sequence), expected=f"{Label.TRANSFER:#x}")
    taken = _take_inputs(coins, sender, inputs)
    padding_sat = padding(sequence)
    have_upt = sum(coin.credit_upt for coin in taken)
    want_upt = 0
    for index, payment in enumerate(outputs):
        credit_upt = _count_coins(index, payment.value_sat, padding_sat)
        if payment.value_sat < min_value_sat:
            raise OutputBelowMinimum(index=index, value=payment.value_sat, limit=min_value_sat)
        if credit_upt < min_credit_upt:
            raise CreditBelowMinimum(index=index, credit=credit_upt, limit=min_credit_upt)
        want_upt += credit_upt
    if have_upt != want_upt:
        raise CreditNotConserved(have=have_upt, want=want_upt)
    made = []
    for index, (payment, colour) in enumerate(zip(outputs, _find_colours(taken, outputs, sequence), strict=True)):
        if colour is None:
            raise MixedColours(index=index)
        coin = CoinOutput(payment.owner, payment.value_sat, padding_sat, colour)
        made.append((OutPoint(transaction_id, index), coin))
    return CoinChange(spent=tuple(inputs), made=tuple(made))


def merge(coins: Mapping[OutPoint, CoinOutput], colour: bytes) -> CoinChange:
    """Make one coin of a colour from one owner's coins: all their credit, whatever the order in which they are given.

    Where they are all of that colour, it is the transfer of all of them to one output. Where they are not, it is said
    by the chain's rule what their colours have in common.
    """
    points = sorted(coins)
    (owner,) = {coin.owner for coin in coins.values()}
    credit_upt = sum(coin.credit_upt for coin in coins.values())
    root = merkle_root([merger_leaf(point, coins[point]) for point in points])
    padding_sat = padding(make_sequence(Label.TRANSFER, choose_padding_code(credit_upt)))
    made = CoinOutput(owner, credit_upt + padding_sat, padding_sat, colour)
    return CoinChange(tuple(points), ((Merger(owner, colour, len(points), root).point, made),))


def merger_leaf(point: OutPoint, coin: CoinOutput) -> bytes:
    """The canonical bytes that stand for a coin under the root of the merger that spent it."""
    return encode((tuple(point), tuple(coin)))


def verify_origin(
    made: OutPoint, merger: Merger, point: OutPoint, coin: CoinOutput, index: int, path: Sequence[bytes]
) -> None:
    """Raise `InvalidProof` unless a coin is number `index` of those from which the coin named `made` was made."""
    if merger.point != made:
        raise InvalidProof(detail="the merger made another coin")
    verify_inclusion(merger.root, merger_leaf(point, coin), index, merger.size, path)


def apply_change(coins: Mapping[OutPoint, CoinOutput], change: CoinChange) -> dict[OutPoint, CoinOutput]:
    """The set of unspent coins after a transaction."""
    spent = set(change.spent)
    assert spent <= coins.keys(), "a coin is spent that is not there"
    return {point: coin for point, coin in coins.items() if point not in spent} | dict(change.made)


def _take_inputs(coins: Mapping[OutPoint, CoinOutput], sender: Address, inputs: Sequence[OutPoint]) -> list[CoinOutput]:
    if not inputs:
        raise WrongShape(what="transfer", detail="no inputs")
    taken: dict[OutPoint, CoinOutput] = {}
    for point in inputs:
        coin = coins.get(point)
        if coin is None or point in taken:
            raise UnknownCoin(transaction_id=point.transaction_id.hex(), index=point.output_index)
        if coin.owner != sender:
            owner = show_address(coin.owner)
            raise NotYourCoin(transaction_id=point.transaction_id.hex(), index=point.output_index, owner=owner)
        taken[point] = coin
    return list(taken.values())


def _find_colours(taken: Sequence[CoinOutput], outputs: Sequence[Payment], sequence: int) -> list[bytes | None]:
    """The colour of every output: the kernel is asked once for each colour among the inputs."""
    in_sats = [coin.value_sat for coin in taken]
    out_sats = [payment.value_sat for payment in outputs]
    paddings = [coin.padding_sat for coin in taken]
    sequences = [sequence] * len(taken)
    found: list[bytes | None] = [None] * len(outputs)
    for colour in dict.fromkeys(coin.colour for coin in taken):
        in_values = [coin.credit_upt if coin.colour == colour else None for coin in taken]
        for index, value in enumerate(run_kernel(False, in_sats, out_sats, sequences, in_values, paddings)):
            if value is not None:
                found[index] = colour
    return found


def _count_coins(index: int, value_sat: int, padding_sat: int) -> int:
    if value_sat <= padding_sat:
        raise OutputBelowPadding(index=index, value=value_sat, padding=padding_sat)
    return value_sat - padding_sat
