"""The passing of the right to seal and to certify from one set of members to the next.

Acts of the authority change the *wanted* set at once, and nothing else. At the first block of a period the wanted set
is fixed: the credit snapshot holds exactly its members, so from the next block on they, and they alone, may seal.

The right to certify follows by a handover, for a set is only known to hold it by a certificate of the set before it.
That first block, which opens a slot, announces the set, for the other chains and for all that check proofs; its own
checkpoint is still the old set's to certify, and until then no later checkpoint can be certified. With that
certificate the new set is in force, for every slot after the announcing one. Should the announcing checkpoint be given
up uncertified, the announcement is withdrawn and made again in the slot that gives it up. Under PBFT a block is
certified before the next is begun, so the set is in force with the next height.

That no two sets certify two branches rests on what checkpoints rest on anyway: a certificate becomes known to the
members within a checkpoint's lifetime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from ledger.accounts import get_sealers, put_sealers
from ledger.checkpoints import get_certified_height, get_checkpoints
from ledger.codec import Value, expect_array, expect_bytes, expect_int
from ledger.contract import BlockContext
from ledger.errors import WrongShape
from ledger.inbox import InboundMessage
from ledger.outbox import post, withdraw
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.siblings import find_sibling, put_sibling

SEALERS = "sealers"  # the message between chains

_WANTED = b"sealers/wanted"
_ANNOUNCED = b"sealers/announced"
_PREVIOUS = b"sealers/previous"
_PARTS = b"sealers/parts/"


class ValidatorSet(NamedTuple):
    """A set of members that certifies; what they sign names it by `since_slot`, which no two sets have in common."""

    since_slot: int  # the first that is theirs to certify; 0 for the founders
    keys: tuple[bytes, ...]  # sorted


class Announced(NamedTuple):
    """A set that will certify from `since_slot` on, once the block at `height` that announces it is certified."""

    since_slot: int
    number: int  # of the message to the other chains
    height: int
    keys: tuple[bytes, ...]  # sorted


def get_wanted_sealers(view: Overlay) -> tuple[bytes, ...]:
    """Public keys that are to have the sealing right from the next period on, sorted."""
    wanted = view.get(_WANTED)
    return get_sealers(view) if wanted is None else cast(tuple[bytes, ...], wanted)


def put_wanted_sealers(view: Overlay, keys: tuple[bytes, ...]) -> None:
    view.put(_WANTED, tuple(sorted(keys)))


def get_announced(view: Overlay) -> Announced | None:
    """The change that waits for its certificate."""
    value = view.get(_ANNOUNCED)
    return None if value is None else Announced._make(cast(tuple[int, int, int, tuple[bytes, ...]], value))


def get_voters(view: Overlay, slot: int) -> ValidatorSet:
    """The certifiers of a slot's checkpoint; without keys while a change that covers it waits for its certificate.

    One change back is remembered: slots before that set's `since_slot` are certified no more.
    Of slots to come it says what holds unless the set changes once more: see `are_voters_known`.
    """
    last_slot, previous = _get_previous(view)
    if slot <= last_slot:
        return previous
    announced = get_announced(view)
    if announced is not None and slot >= announced.since_slot:
        return ValidatorSet(announced.since_slot, ())
    return ValidatorSet(last_slot + 1, get_sealers(view))


def are_voters_known(view: Overlay, slot: int, params: ConsensusParams) -> bool:
    """Return True if no block to come can change who certifies a slot, seen from a state of the chain.

    The next change is announced by the first block of the next period at the earliest, for the slot after its own.
    Under PBFT a height's voters are those that its parent names: asked of a later height, this says what holds now.
    """
    if params.engine == "pbft":
        return True
    announced = get_announced(view)
    if announced is not None:
        return slot < announced.since_slot
    recent = get_checkpoints(view)
    per_period = params.checkpoints_per_period
    return slot <= ((recent[-1].slot if recent else 0) // per_period + 1) * per_period


def get_known_sealers(view: Overlay) -> frozenset[bytes]:
    """Every key that may have sealed or certified anything lately, or may from the next period on."""
    announced = get_announced(view)
    keys = (*_get_previous(view)[1].keys, *get_sealers(view), *get_wanted_sealers(view))
    return frozenset((*keys, *(announced.keys if announced is not None else ())))


def update_sealers(view: Overlay, block: BlockContext) -> None:
    """At the start of every block, once its checkpoint is opened and before the credit snapshot is taken."""
    if block.params.consensus.engine == "pbft":
        if block.is_first_of_period and get_wanted_sealers(view) != get_sealers(view):
            keys = get_wanted_sealers(view)
            _announce(view, block, block.height + 1, keys)
            _hand_over(view, block.height + 1, keys)
        return
    announced = get_announced(view)
    if announced is not None and announced.height <= get_certified_height(view):
        view.delete(_ANNOUNCED)
        _hand_over(view, announced.since_slot, announced.keys)
        announced = None
    recent = get_checkpoints(view)
    if not recent or recent[-1].height != block.height:
        return
    keys = get_wanted_sealers(view) if block.is_first_of_period else ()
    if announced is not None:
        if any(item.height == announced.height for item in recent):
            return
        keys = keys or announced.keys
        view.delete(_ANNOUNCED)
        withdraw(view, SEALERS, announced.number)
    if keys and keys != get_sealers(view):
        _announce(view, block, recent[-1].slot + 1, keys)
        view.put(_ANNOUNCED, tuple(Announced(recent[-1].slot + 1, block.period, block.height, keys)))


def receive_sealers(view: Overlay, block: BlockContext, delivery: InboundMessage) -> None:
    """Take in `sealers`, rows (since slot, public key), ascending: who certifies for another chain from that slot on.

    It counts once all parts are there. Raises `WrongShape`.
    """
    chain_id, sibling = find_sibling(view, delivery.source)
    fresh = [_read_row(row) for row in delivery.rows]
    place = _PARTS + delivery.source.encode()
    number, kept = cast(tuple[int, tuple[tuple[int, bytes], ...]], view.get(place) or (delivery.number, ()))
    rows = sorted((*(kept if number == delivery.number else ()), *fresh))
    if not delivery.is_complete:
        view.put(place, (delivery.number, tuple(rows)))
        return
    view.delete(place)
    since_slot, keys = read_sealers(rows)
    if since_slot < sibling.since_slot:
        raise WrongShape(what=SEALERS, detail=f"they hold from slot {since_slot}, others from {sibling.since_slot}")
    put_sibling(view, chain_id, sibling._replace(since_slot=since_slot, sealers=keys))
    view.emit("sealers-of", delivery.source, since_slot, len(keys))


def read_sealers(rows: Sequence[Value]) -> tuple[int, tuple[bytes, ...]]:
    """(since slot, keys ascending) of all rows of a message, in whatever order. Raises `WrongShape`."""
    read = sorted(_read_row(row) for row in rows)
    keys = tuple(key for _, key in read)
    if not read or read[0][0] != read[-1][0] or len(set(keys)) < len(keys):
        raise WrongShape(what=SEALERS, detail="expected different keys, all from one slot on")
    return read[0][0], keys


def _read_row(row: Value) -> tuple[int, bytes]:
    since, key = expect_array(row, 2, "sealer")
    return expect_int(since, "since slot"), expect_bytes(key, "sealer", size=32)


def _get_previous(view: Overlay) -> tuple[int, ValidatorSet]:
    """The last slot before those of the set in force, and the set that certified it; -1 where there was none."""
    last_slot, since_slot, keys = cast(tuple[int, int, tuple[bytes, ...]], view.get(_PREVIOUS) or (-1, 0, ()))
    return last_slot, ValidatorSet(since_slot, keys)


def _announce(view: Overlay, block: BlockContext, since_slot: int, keys: tuple[bytes, ...]) -> None:
    post(view, SEALERS, block.period, [(since_slot, key) for key in keys], height=block.height)
    view.emit("sealers-announced", since_slot, len(keys))


def _hand_over(view: Overlay, since_slot: int, keys: tuple[bytes, ...]) -> None:
    last_slot, _ = _get_previous(view)
    view.put(_PREVIOUS, (since_slot - 1, last_slot + 1, get_sealers(view)))
    put_sealers(view, keys)
    view.emit(SEALERS, since_slot, len(keys))
