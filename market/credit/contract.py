"""LH1's contract, the credit index blockchain of Eq. (8) of text 000, and how its snapshots reach the other chains.

JY1 tells of deliveries, JY1 and DU1 of offences, DU1 of its power-transaction and actual-transaction blocks. Deliveries
are scored (Eqs (1), (2) and (12)), and each score is the genesis of a credit asset. The first block of every period
posts the credit of all who have earned or lost some; the other chains make it theirs.

What subscribers hear, credit in micro-points, addresses as bytes; `market.credit.assets` lists what coins do:

    credit             period of delivery, member, score of one delivery, credit after it
    credit-corrected   the same, of a delivery whose score has changed
    punished           member, credit after it
    violation          period, trade index, member, kind, volume agreed, volume metered of it: a new one, or what has
                       become of one by a correction
    violation-withdrawn
                       period, trade index, member, kind: a correction has put the delivery within tolerance
    digest             source chain, kind of message, number, digest
    credit-snapshot    period, members in it
    credit-applied     period of the snapshot, members in this part of it (on the chains that receive it)
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.accounts import check_member, get_account, get_sealers, put_account, require_member
from ledger.codec import Value, encode, expect_array, expect_bytes, expect_int
from ledger.contract import BlockContext, Handler, Hook, NextDue
from ledger.errors import AlreadyRecorded, WrongShape
from ledger.hashing import ADDRESS_SIZE, HASH_SIZE, Address, address_of, tagged_hash
from ledger.inbox import InboundMessage, Routes
from ledger.outbox import OFFENCE, post
from ledger.overlay import Overlay
from ledger.state import State
from market.credit.assets import Assessment, coin_handlers, issue_assessment
from market.credit.merging import find_next_due, merge_due_coins
from market.credit.score import FULL_CREDIT_UPT, add_penalty, add_score, assess_sides, correct_score
from market.credit.violations import (
    Delivery,
    correct_delivery,
    is_recording,
    record_delivery,
    record_second_target,
)
from market.messages import ACTUAL, CREDIT, DELIVERED, POWER, REDELIVERED, SECOND_TARGET
from market.orders import Side
from market.trading.pages import PAGE_ROWS, append_rows, drop_rows, get_rows
from market.trading.work import MEMBER, TELL, claim_whole, get_room, is_limited, spend

RETAINED_DIGESTS = 64  # numbers of one kind from one chain

_ROWS_TAG = "gridmerit/credit/rows"
_LAST_MEMBER = b"credit/last-member"
_MEMBER = b"credit/member/"
_OFFENCE = b"credit/offence/"
_DIGEST = b"credit/digest/"
_DIGESTED = b"credit/digested/"
_APPLIED = b"credit/applied"
_TELLING = b"credit/telling"


class Delivered(NamedTuple):
    """One trade of a settled period as JY1 tells of it: energy agreed, and the parts of both meters that fall on it.

    Where violations are recorded None stands for a meter that was not heard, and else 0.
    """

    trade_index: int
    buyer: Address
    seller: Address
    agreed_wh: int
    consumption_wh: int | None
    output_wh: int | None

    @classmethod
    def from_value(cls, value: Value, block: BlockContext) -> Delivered:
        """Raises `WrongShape` or `TooLarge`."""
        trade_index, buyer, seller, agreed_wh, consumption_wh, output_wh = expect_array(value, 6, "delivered trade")
        return cls(
            expect_int(trade_index, "trade index"),
            expect_bytes(buyer, "buyer", size=ADDRESS_SIZE),
            expect_bytes(seller, "seller", size=ADDRESS_SIZE),
            expect_int(agreed_wh, "agreed volume", low=1),
            _expect_energy(consumption_wh, "consumption", block),
            _expect_energy(output_wh, "output", block),
        )

    def list_sides(self, period: int) -> tuple[Delivery, Delivery]:
        """The buyer's delivery and the seller's."""
        index, _, _, agreed_wh, consumption_wh, output_wh = self
        return (
            Delivery(period, index, Side.BID, agreed_wh, consumption_wh),
            Delivery(period, index, Side.OFFER, agreed_wh, output_wh),
        )


class _Telling(NamedTuple):
    """The place that a snapshot has come to: whose credit is next, and how many are put together."""

    period: int
    member: Address
    members: int


class Digest(NamedTuple):
    """LH1's digest of a message: the certified block of the source that proved it, and 32 bytes of its content."""

    block_hash: bytes
    height: int
    digest: bytes


def credit_handlers() -> dict[str, Handler]:
    """LH1's transaction kinds."""
    return coin_handlers()


def credit_hooks() -> tuple[Hook, ...]:
    """The hooks of LH1 at the start of every block."""
    return (post_snapshot, merge_due_coins)


def credit_further_hooks() -> tuple[Hook, ...]:
    """Those of LH1 that go on with each further share of a block's work."""
    return (post_snapshot,)


def credit_next_due() -> tuple[NextDue, ...]:
    """The times at which LH1's hooks have something to do."""
    return (find_next_due, _find_snapshot_due)


def credit_routes() -> Routes:
    """The messages that LH1 hears from the other chains, and their handlers."""
    return {
        ("trading", DELIVERED): receive_delivered,
        ("trading", REDELIVERED): receive_redelivered,
        ("trading", SECOND_TARGET): receive_second_target,
        ("trading", OFFENCE): receive_offence,
        ("scheduling", OFFENCE): receive_offence,
        ("scheduling", POWER): receive_block_digest,
        ("scheduling", ACTUAL): receive_block_digest,
    }


# --- messages to LH1 -----------------------------------------------------------------------------


def receive_delivered(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`delivered`, rows of `Delivered` by rising index: score both sides of every trade, and issue coins for it.

    Raises `WrongShape`, `TooLarge`, `UnknownMember` or `AlreadyRecorded`.
    """
    last_index = -1
    for row in delivery.rows:
        trade = Delivered.from_value(row, block)
        if trade.trade_index <= last_index:
            detail = f"trade {trade.trade_index} comes after trade {last_index}"
            raise WrongShape(what=delivery.kind, detail=detail)
        last_index = trade.trade_index
        bought_upt, sold_upt = _assess(trade, block.params.market.natural_factor_ppm)
        for member, side, score_upt in ((trade.buyer, Side.BID, bought_upt), (trade.seller, Side.OFFER, sold_upt)):
            _add_score(view, block, delivery.number, member, score_upt, trade.agreed_wh)
            name = Assessment(delivery.source, delivery.kind, delivery.number, trade.trade_index, side)
            issue_assessment(view, name, member, score_upt, is_merging=block.params.market.merged_coins > 0)
        for member, side_of_it in zip((trade.buyer, trade.seller), trade.list_sides(delivery.number), strict=True):
            record_delivery(view, block, member, side_of_it)
    _record_digest(view, delivery, _digest_rows(delivery))


def receive_redelivered(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`redelivered`, rows (period, fields of `Delivered`, consumption and output before): scores that have changed.

    It may come before the `delivered` that it corrects. The coins issued for the first score stay as they are, and with
    their present holders. Raises `WrongShape`, `TooLarge` or `UnknownMember`.
    """
    factor_ppm = block.params.market.natural_factor_ppm
    for row in delivery.rows:
        number, *fields, consumed, produced = expect_array(row, 9, "redelivered trade")
        period, trade = expect_int(number, "period"), Delivered.from_value(tuple(fields), block)
        before = trade._replace(
            consumption_wh=_expect_energy(consumed, "consumption before", block),
            output_wh=_expect_energy(produced, "output before", block),
        )
        old, new = (_assess(item, factor_ppm) for item in (before, trade))
        for member, old_upt, new_upt in zip((trade.buyer, trade.seller), old, new, strict=True):
            require_member(view, member)
            if old_upt == new_upt:
                continue
            account = correct_score(
                get_account(view, member), new_upt - old_upt, agreed_wh=trade.agreed_wh, params=block.params.market
            )
            put_account(view, member, account)
            _add_member(view, member)
            view.emit("credit-corrected", period, member, new_upt, account.credit_upt)
        sides = zip((trade.buyer, trade.seller), before.list_sides(period), trade.list_sides(period), strict=True)
        for member, was, now in sides:
            correct_delivery(view, block, member, was, now, revision=delivery.number + 1)
    _record_digest(view, delivery, _digest_rows(delivery))


def _assess(trade: Delivered, factor_ppm: int) -> tuple[int, int]:
    """The scores of buyer and seller; a meter that was not heard counts as 0."""
    energy_wh = trade.consumption_wh or 0, trade.output_wh or 0
    return assess_sides(trade.agreed_wh, *energy_wh, natural_factor_ppm=factor_ppm)


def _expect_energy(value: Value, what: str, block: BlockContext) -> int | None:
    """Energy in Wh; nil where violations are recorded and the meter was not heard. Raises `WrongShape`."""
    return None if value is None and is_recording(block) else expect_int(value, what)


def receive_second_target(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`second-target`, one row (period, sender): a member has committed a target for a period that had one.

    Raises `WrongShape`, `TooLarge` or `UnknownMember`.
    """
    period, sender = expect_array(_only_row(delivery), 2, delivery.kind)
    member = expect_bytes(sender, "sender", size=ADDRESS_SIZE)
    check_member(view, member)
    record_second_target(view, block, member, expect_int(period, "period"))
    _record_digest(view, delivery, _digest_rows(delivery))


def receive_offence(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`offence (slot digest, culprit, cost)`: what a chain has evidence of costs credit, once per chain and slot.

    Raises `WrongShape`, `TooLarge`, `UnknownMember` or `AlreadyRecorded`.
    """
    slot, culprit, cost = expect_array(_only_row(delivery), 3, delivery.kind)
    address = expect_bytes(culprit, "culprit", size=ADDRESS_SIZE)
    cost_upt = expect_int(cost, "cost", high=FULL_CREDIT_UPT)
    key = _OFFENCE + delivery.source.encode() + b"/" + expect_bytes(slot, "slot digest", size=HASH_SIZE)
    if view.get(key) is not None:
        raise AlreadyRecorded(what=delivery.kind)
    require_member(view, address)
    view.put(key, block.height)
    account = add_penalty(get_account(view, address), cost_upt)
    put_account(view, address, account)
    _add_member(view, address)
    view.emit("punished", address, account.credit_upt)
    _record_digest(view, delivery, _digest_rows(delivery))


def receive_block_digest(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`power` or `actual`, one row (root, contracts, energy): the digest of a block of DU1 (step 4 of text 000, §3).

    Raises `WrongShape` or `TooLarge`.
    """
    root, contracts, energy = expect_array(_only_row(delivery), 3, delivery.kind)
    expect_int(contracts, "contract count")
    expect_int(energy, "energy")
    _record_digest(view, delivery, expect_bytes(root, "root", size=HASH_SIZE))


def _add_score(
    view: Overlay, block: BlockContext, period: int, member: Address, score_upt: int, agreed_wh: int
) -> None:
    check_member(view, member)
    account = add_score(get_account(view, member), score_upt, agreed_wh=agreed_wh, params=block.params.market)
    put_account(view, member, account)
    _add_member(view, member)
    view.emit("credit", period, member, score_upt, account.credit_upt)


def _only_row(delivery: InboundMessage) -> Value:
    if len(delivery.rows) != 1 or delivery.parts != 1:
        raise WrongShape(what=delivery.kind, detail="expected one row")
    return delivery.rows[0]


# --- snapshots -----------------------------------------------------------------------------------


def post_snapshot(view: Overlay, block: BlockContext) -> None:
    """At a period's first block: post the credit of every member that was ever scored or punished, by address.

    The ledger's own snapshot is taken just before, so that LH1's difficulty follows the same numbers. A member that LH1
    itself has punished is a sealer with a penalty: evidence is the ledger's affair, which does not know of the index.
    """
    if block.is_first_of_period:
        for key in get_sealers(view):
            address = address_of(key)
            if get_account(view, address).penalty_upt:
                _add_member(view, address)
    if is_limited(block):
        _post_by_shares(view, block)
        return
    if not block.is_first_of_period:
        return
    rows: list[Value] = [(address, get_account(view, address).credit_upt) for address in get_indexed(view)]
    if rows:
        post(view, CREDIT, block.period, rows, height=block.height)
        view.emit("credit-snapshot", block.period, len(rows))


def _post_by_shares(view: Overlay, block: BlockContext) -> None:
    """Begin to put the credits together at a period's first block, and post them with the one that has the last."""
    value = cast(tuple[int, bytes, int] | None, view.get(_TELLING))
    telling = None if value is None else _Telling._make(value)
    if block.is_first_of_period:
        if telling is not None:
            drop_rows(view, _credits_name(), telling.members)
        telling = _Telling(block.period, cast(bytes, view.get(_LAST_MEMBER) or b""), 0)
    if telling is None:
        return
    period, member, count = telling
    while member and (room := get_room(view, block, cost=MEMBER)):
        rows: list[tuple[Address, int]] = []
        while member and len(rows) < min(room, PAGE_ROWS):
            rows.append((member, get_account(view, member).credit_upt))
            member = cast(bytes, view.get(_MEMBER + member))
        spend(view, block, len(rows), cost=MEMBER)
        count = append_rows(view, _credits_name(), count, rows)
    if member or not claim_whole(view, block, count * TELL):
        view.put(_TELLING, (period, member, count))
        return
    view.delete(_TELLING)
    if count:
        post(view, CREDIT, period, get_rows(view, _credits_name(), count), height=block.height)
        view.emit("credit-snapshot", period, count)
    drop_rows(view, _credits_name(), count)


def _find_snapshot_due(view: Overlay, _block: BlockContext) -> int | None:
    """The time from which on a snapshot goes on: 0 while it has not been posted."""
    return None if view.get(_TELLING) is None else 0


def receive_credit(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """`credit`, rows (member, credit): make LH1's credit this chain's, to count from its next period on.

    A snapshot older than one that was applied changes nothing. Raises `WrongShape`, `TooLarge` or `UnknownMember`.
    """
    if delivery.number < cast(int, view.get(_APPLIED) or 0):
        return
    for row in delivery.rows:
        member, credit = expect_array(row, 2, delivery.kind)
        address = expect_bytes(member, "member", size=ADDRESS_SIZE)
        credit_upt = expect_int(credit, "credit", high=FULL_CREDIT_UPT)
        require_member(view, address)
        put_account(view, address, get_account(view, address)._replace(credit_upt=credit_upt))
    view.put(_APPLIED, delivery.number)
    view.emit("credit-applied", delivery.number, len(delivery.rows))


def get_indexed(view: Overlay) -> list[Address]:
    """Every member that was ever scored or punished, by address; never more than there are members."""
    found = []
    address = cast(bytes, view.get(_LAST_MEMBER) or b"")
    while address:
        found.append(address)
        address = cast(bytes, view.get(_MEMBER + address))
    return sorted(found)


def _add_member(view: Overlay, address: Address) -> None:
    """Put a member into the index, a chain in which each names the one before it."""
    if not view.has(_MEMBER + address):
        view.put(_MEMBER + address, view.get(_LAST_MEMBER) or b"")
        view.put(_LAST_MEMBER, address)


# --- digests -------------------------------------------------------------------------------------


def get_digest(state: State, source: str, kind: str, number: int) -> Digest | None:
    """LH1's digest of a message of a chain, of its first part where it has several; None where it keeps nothing."""
    value = Overlay(state).get(_digest_key(source, kind, number))
    return None if value is None else Digest._make(cast(tuple[bytes, int, bytes], value))


def _record_digest(view: Overlay, delivery: InboundMessage, digest: bytes) -> None:
    """Keep the digest of a message's first part, and of the latest `RETAINED_DIGESTS` numbers of its kind."""
    if delivery.part:
        return
    source, kind, number = delivery.source, delivery.kind, delivery.number
    index = _DIGESTED + source.encode() + b"/" + kind.encode()
    numbers = sorted({*cast(tuple[int, ...], view.get(index) or ()), number})
    view.put(_digest_key(source, kind, number), tuple(Digest(delivery.block_hash, delivery.height, digest)))
    for old in numbers[:-RETAINED_DIGESTS]:
        view.delete(_digest_key(source, kind, old))
    view.put(index, tuple(numbers[-RETAINED_DIGESTS:]))
    view.emit("digest", source, kind, number, digest)


def _digest_rows(delivery: InboundMessage) -> bytes:
    return tagged_hash(_ROWS_TAG, encode(delivery.rows))


def _digest_key(source: str, kind: str, number: int) -> bytes:
    return _DIGEST + source.encode() + b"/" + kind.encode() + b"/" + number.to_bytes(8, "big")


def _credits_name() -> bytes:
    return b"credits"
