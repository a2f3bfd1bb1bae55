"""Credit assets on LH1: unspent coloured coins in ledger state, issued by assessments and moved by their owners.

What a coin is and how coins move is `market.credit.colored_coin`'s to say (Eqs (3)-(6) of text 000). A coin is one
state value under the name of its output. The coins of one owner form two chains in both directions, one of those issued
to it and one of those made by transfers, so that making or spending a coin touches a handful of values however many
there are, and the state holds nothing of coins that are spent.

Each chain is bounded (decision 10): an assessment beyond `MAX_ISSUED` lets the oldest issued coin of its owner expire,
a transfer beyond `MAX_MOVED` is refused. They are counted apart, so that sending dust makes no other member's coins
expire.

On a chain that merges coins (decision 42, `market.credit.merging`) all that a member has earned is of one colour, and
the two chains are of coins in its own colour and of those in others'. There no coin expires: an assessment beyond
`MAX_ISSUED` is merged at once.

What subscribers hear, credit in micro-points, addresses and ids as bytes:

    coin-issued        transaction id, owner, credit
    coin-expired       transaction id, owner, credit
    coins-moved        transaction id, sender, inputs [[transaction id, index], …], outputs [[owner, credit], …]
    coins-merged       transaction id, owner, inputs [[transaction id, index], …], credit
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, groupby, islice
from typing import NamedTuple, TypeAlias, cast

from ledger.accounts import require_member
from ledger.codec import Value, encode, expect_array, expect_bytes, expect_int, expect_list
from ledger.contract import BlockContext, Handler
from ledger.errors import AlreadyRecorded
from ledger.hashing import ADDRESS_SIZE, HASH_SIZE, Address, show_address, tagged_hash
from ledger.overlay import Overlay
from ledger.state import State
from ledger.transaction import Transaction
from market.credit.colored_coin import CoinOutput, OutPoint, Payment, issue, merge, merit_colour, transfer
from market.errors import TooManyCoins
from market.orders import Side

MAX_INPUTS = 64
MAX_OUTPUTS = 64
MAX_ISSUED = 2_048  # unspent coins of one owner that assessments have issued
MAX_MOVED = 2_048  # and that transfers have made
MIN_TRANSFER_UPT = 10_000  # a hundredth of a point in every output: an assessment is 10 000 coins at most

_ASSESSMENT_TAG = "gridmerit/credit/assessment"
_COIN = b"credit/coin/"
_ISSUED = b"credit/issued/"
_MOVED = b"credit/moved/"
_MAX_INDEX = 2**16 - 1
_new_tuple = tuple.__new__  # makes a record without its constructor
_MAX_SEQUENCE = 2**32 - 1

_Row: TypeAlias = tuple[tuple[bytes, int, int, bytes], tuple[bytes, bytes]]  # a coin and its `_Place` in the state


class Assessment(NamedTuple):
    """Names one assessment: the message that told of the delivery, the trade in it, and the side that was scored."""

    source: str  # the chain that sent the message
    kind: str
    number: int
    trade_index: int
    side: Side

    @property
    def id(self) -> bytes:
        """32 bytes: the id of the genesis transaction of its coins, and so their colour."""
        return tagged_hash(_ASSESSMENT_TAG, encode((*self[:-1], int(self.side))))


class Holding(NamedTuple):
    """One member's unspent coins, and the credit in them."""

    coins: int = 0
    credit_upt: int = 0


class _Chain(NamedTuple):
    """One of an owner's chains of coins, which names both its ends."""

    coins: int = 0
    credit_upt: int = 0
    newest: bytes = b""
    oldest: bytes = b""


_NO_CHAIN = _Chain()


class _Place(NamedTuple):
    """A coin's neighbours in its chain, by name; empty at either end."""

    older: bytes
    newer: bytes


# --- what happens to coins -----------------------------------------------------------------------


def coin_handlers() -> dict[str, Handler]:
    """The transaction kinds of credit assets."""
    return {"coin-transfer": process_coin_transfer}


def issue_assessment(
    view: Overlay, assessment: Assessment, owner: Address, credit_upt: int, *, is_merging: bool = False
) -> None:
    """Make an assessment the genesis of coins worth its score; a score of 0 leaves nothing to own, and no coin.

    Of what assessments have issued to one owner the newest `MAX_ISSUED` coins stay; where the chain is merging coins,
    the newest two become one instead. Raises `AlreadyRecorded` where this coin is there and unspent.
    """
    if not credit_upt:
        return
    transaction_id = assessment.id
    colour = merit_colour(owner) if is_merging else transaction_id
    ((point, coin),) = issue(transaction_id, owner, credit_upt, colour=colour).made
    if view.has(coin_key(point)):
        raise AlreadyRecorded(what="assessment")
    issued = _add_coin(view, point, coin)
    view.emit("coin-issued", transaction_id, owner, credit_upt)
    if issued.coins <= MAX_ISSUED:
        return
    if is_merging:
        _merge(view, dict(islice(_iterate_coins(view, _ISSUED, owner), 2)), colour)
    else:
        oldest, _ = _get_coin(view, issued.oldest)
        _remove_coin(view, _point_of(issued.oldest))
        view.emit("coin-expired", oldest.colour, owner, oldest.credit_upt)


def process_coin_transfer(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`coin-transfer [[[transaction id, index], …], [[owner, value_sat], …], sequence]`: inputs, outputs and their tag.

    Raises `WrongShape`, `TooLarge`, `UnknownMember`, what `market.credit.colored_coin.transfer` raises, or
    `TooManyCoins`.
    """
    inputs, outputs, sequence = _read_transfer(transaction.payload)
    for payment in outputs:
        require_member(view, payment.owner)
    coins = {point: coin for point in inputs if (coin := _find_coin(view, point)) is not None}
    change = transfer(
        coins,
        transaction.id,
        transaction.sender,
        inputs=inputs,
        outputs=outputs,
        sequence=sequence,
        min_credit_upt=MIN_TRANSFER_UPT,
    )
    for point in change.spent:
        _remove_coin(view, point)
    for point, coin in change.made:
        _add_coin(view, point, coin)
    for payment in outputs:
        want = max(holds.coins for holds in _get_chains(view, payment.owner))
        if want > MAX_MOVED:
            raise TooManyCoins(owner=show_address(payment.owner), want=want, limit=MAX_MOVED)
    paid = tuple((coin.owner, coin.credit_upt) for _, coin in change.made)
    view.emit("coins-moved", transaction.id, transaction.sender, tuple(map(tuple, change.spent)), paid)


def count_coins(view: Overlay, owner: Address) -> tuple[int, int]:
    """The coins that a member has in its own colour, and in others'."""
    moved, issued = _get_chains(view, owner)
    return issued.coins, moved.coins


def merge_coins(view: Overlay, owner: Address, limit: int) -> None:
    """Make one coin of a member's coins of each colour, spending `limit` at most: of its own, then by colour and name.

    Its own colour comes first, and takes in coins of assessments from before the chain merged any: they are of this
    member's merit, though each of a colour of its own. A coin that is alone in its colour stays as it is.
    """
    groups = [(merit_colour(owner), dict(sorted(_iterate_coins(view, _ISSUED, owner))))]
    others = sorted(_iterate_coins(view, _MOVED, owner), key=lambda item: (item[1].colour, item[0]))
    groups += [(colour, dict(coins)) for colour, coins in groupby(others, key=lambda item: item[1].colour)]
    for colour, coins in groups:
        taken = dict(islice(coins.items(), limit))
        if len(taken) > 1:
            _merge(view, taken, colour)
            limit -= len(taken)


def _merge(view: Overlay, coins: dict[OutPoint, CoinOutput], colour: bytes) -> None:
    change = merge(coins, colour)
    for point in change.spent:
        _remove_coin(view, point)
    for point, coin in change.made:
        _add_coin(view, point, coin)
        view.emit("coins-merged", point.transaction_id, coin.owner, tuple(map(tuple, change.spent)), coin.credit_upt)


def _read_transfer(payload: Value) -> tuple[tuple[OutPoint, ...], tuple[Payment, ...], int]:
    inputs, outputs, sequence = expect_array(payload, 3, "coin transfer")
    return (
        tuple(_read_point(item) for item in expect_list(inputs, "inputs", max_items=MAX_INPUTS)),
        tuple(_read_payment(item) for item in expect_list(outputs, "outputs", max_items=MAX_OUTPUTS)),
        expect_int(sequence, "sequence", high=_MAX_SEQUENCE),
    )


def _read_point(value: Value) -> OutPoint:
    identity, index = expect_array(value, 2, "input")
    return OutPoint(
        expect_bytes(identity, "transaction id", size=HASH_SIZE), expect_int(index, "output index", high=_MAX_INDEX)
    )


def _read_payment(value: Value) -> Payment:
    owner, value_sat = expect_array(value, 2, "output")
    return Payment(expect_bytes(owner, "owner", size=ADDRESS_SIZE), expect_int(value_sat, "value"))


# --- the set of unspent coins --------------------------------------------------------------------


def coin_key(point: OutPoint) -> bytes:
    """The state key of an unspent coin, for proofs."""
    return _COIN + _name_of(point)


def decode_coin(value: Value) -> CoinOutput:
    """The coin in a state value under `coin_key`."""
    return _decode(value)[0]


def get_coin(state: State, point: OutPoint) -> CoinOutput | None:
    """An unspent coin by name; None where it is spent or never was."""
    return _find_coin(Overlay(state), point)


def get_coins(state: State, address: Address, *, limit: int | None = None) -> list[tuple[OutPoint, CoinOutput]]:
    """A member's unspent coins, all or at most `limit`: those that transfers made, then those issued, newest first."""
    view = Overlay(state)
    return list(islice(chain(_iterate_coins(view, _MOVED, address), _iterate_coins(view, _ISSUED, address)), limit))


def get_holding(state: State, address: Address) -> Holding:
    moved, issued = _get_chains(Overlay(state), address)
    return Holding(moved.coins + issued.coins, moved.credit_upt + issued.credit_upt)


def _iterate_coins(view: Overlay, prefix: bytes, owner: Address) -> Iterator[tuple[OutPoint, CoinOutput]]:
    name = _get_chain(view, prefix, owner).newest
    while name:
        coin, place = _get_coin(view, name)
        yield _point_of(name), coin
        name = place.older


def _add_coin(view: Overlay, point: OutPoint, coin: CoinOutput) -> _Chain:
    """Put a coin at the newer end of its chain; the chain then."""
    name, prefix = _name_of(point), _prefix_of(point, coin)
    own = _get_chain(view, prefix, coin.owner)
    if own.newest:
        newest, (older, _) = cast(_Row, view.get(_COIN + own.newest))
        view.put(_COIN + own.newest, (newest, (older, name)))
    _put_coin(view, name, coin, _Place(older=own.newest, newer=b""))
    longer = _Chain(own.coins + 1, own.credit_upt + coin.credit_upt, newest=name, oldest=own.oldest or name)
    _put_chain(view, prefix, coin.owner, longer)
    return longer


def _remove_coin(view: Overlay, point: OutPoint) -> None:
    """Take a coin out of the set and join its neighbours."""
    name = _name_of(point)
    coin, place = _get_coin(view, name)
    view.delete(_COIN + name)
    if place.older:
        _link(view, place.older, newer=place.newer)
    if place.newer:
        _link(view, place.newer, older=place.older)
    prefix = _prefix_of(point, coin)
    own = _get_chain(view, prefix, coin.owner)
    newest = own.newest if place.newer else place.older
    oldest = own.oldest if place.older else place.newer
    _put_chain(view, prefix, coin.owner, _Chain(own.coins - 1, own.credit_upt - coin.credit_upt, newest, oldest))


def _link(view: Overlay, name: bytes, **neighbour: bytes) -> None:
    coin, place = _get_coin(view, name)
    _put_coin(view, name, coin, place._replace(**neighbour))


def _find_coin(view: Overlay, point: OutPoint) -> CoinOutput | None:
    value = view.get(coin_key(point))
    return None if value is None else decode_coin(value)


def _get_coin(view: Overlay, name: bytes) -> tuple[CoinOutput, _Place]:
    return _decode(view.get(_COIN + name))


def _put_coin(view: Overlay, name: bytes, coin: CoinOutput, place: _Place) -> None:
    view.put(_COIN + name, (coin[:], place[:]))


def _decode(value: Value) -> tuple[CoinOutput, _Place]:
    coin, place = cast(_Row, value)
    return CoinOutput._make(coin), _Place._make(place)


def _prefix_of(point: OutPoint, coin: CoinOutput) -> bytes:
    """The prefix of the chain a coin is in: an issued one is of the colour that its own transaction began.

    Where a chain merges coins, it is of its owner's colour.
    """
    is_issued = coin.colour == point.transaction_id or coin.colour == merit_colour(coin.owner)
    return _ISSUED if is_issued else _MOVED


def _get_chains(view: Overlay, owner: Address) -> tuple[_Chain, _Chain]:
    """Of coins that transfers made, and of those issued."""
    return _get_chain(view, _MOVED, owner), _get_chain(view, _ISSUED, owner)


def _get_chain(view: Overlay, prefix: bytes, owner: Address) -> _Chain:
    value = view.get(prefix + owner)
    return _NO_CHAIN if value is None else _new_tuple(_Chain, cast(tuple[int, int, bytes, bytes], value))


def _put_chain(view: Overlay, prefix: bytes, owner: Address, own: _Chain) -> None:
    if own.coins:
        view.put(prefix + owner, own[:])
    else:
        view.delete(prefix + owner)


def _point_of(name: bytes) -> OutPoint:
    return OutPoint(name[:HASH_SIZE], int.from_bytes(name[HASH_SIZE:], "big"))


def _name_of(point: OutPoint) -> bytes:
    return point.transaction_id + point.output_index.to_bytes(2, "big")
