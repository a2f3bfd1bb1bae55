"""Pools of metered plants, securitised (text 003, §8): who opens one, what it admits by rule, and its notes.

An originator opens a pool by its terms, which never change. Until it runs, plants are admitted to it and notes issued.
A plant sells the pool a share of its receipts, for a value that the originator pays it at once: the plant signs, the
originator sends, and the rules of the terms decide, nobody else. Notes are the third class of the asset ledger, counted
in µ¥ of principal: a senior and a mezzanine, of at most what the plants count for together. Their originator has them
first, and sells them as any asset is sold. What a note is owed is paid on the pool's dates (`pool_payments.py`).

What subscribers hear besides the ledger's events and those of payments:

    pool-opened       pool, originator, first period, period of the last date
    pool-admitted     pool, plant, value in µ¥
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.accounts import get_account, pay_covered, require_member
from ledger.codec import Value, encode, expect_array, expect_bytes, expect_int, expect_str
from ledger.contract import BlockContext, Handler
from ledger.hashing import ADDRESS_SIZE, Address, show_address
from ledger.overlay import Overlay
from ledger.signatures import SIGNATURE_SIZE, SigningKey, signing_digest, verify
from ledger.transaction import Transaction
from market.assets.contract import AssetAct, Policy, issue
from market.assets.series import MAX_AMOUNT, MAX_ISSUED, Series, add_series, walk_series
from market.claim_records import get_promised_wh
from market.claims import CLAIMED_AHEAD
from market.credit.score import FULL_CREDIT_UPT, PPM
from market.errors import (
    NotAdmitted,
    NotCovered,
    NotesIssuedByOthers,
    NotRedeemable,
    NotRenewable,
    NotYourPool,
    PoolNotFilling,
    TooManyNotes,
    TooManyPlants,
    TooManyPools,
    UnknownTranche,
)
from market.metering import get_energy, is_heard
from market.pool_life import Status
from market.pool_records import (
    MAX_PLANTS,
    MAX_POOLS,
    MAX_POOLS_EACH,
    MEZZANINE,
    NOTE,
    SENIOR,
    TRANCHES,
    Plant,
    Pool,
    Terms,
    add_plant,
    add_pool,
    check_unpledged,
    enter,
    get_agenda,
    get_plants,
    get_pools_of,
    get_terms,
    notes_key,
    put_pool,
    require_pool,
)
from market.roles import Act, require_right
from market.waterfall import State

POOL, POOL_ADMIT = "pool", "pool-admit"
MAX_EVERY = 10_000  # periods; a month of periods of five minutes has 8 928
MAX_DATES = 1_000
RECORD = 48  # periods that a plant is judged by
UNTIL_PAID = 2**53 - 1  # the expiry of a note, which ends with its pool and not on a day


class Pledge(NamedTuple):
    """The terms that a plant signs: it sells a pool a share of its receipts for a value (µ¥)."""

    pool: int
    plant: Address
    value_uyuan: int
    originator: Address
    sequence: int  # of the originator's transaction, the only one that it is good for

    def digest(self, chain_id: bytes) -> bytes:
        """The 32 bytes that the plant signs."""
        return signing_digest("pledge", chain_id, encode(self[:]))


def sign_pledge(key: SigningKey, chain_id: bytes, pledge: Pledge) -> bytes:
    """The last field of the originator's `pool-admit`, made with the plant's key."""
    return key.sign(pledge.digest(chain_id))


def pool_handlers() -> dict[str, Handler]:
    """The transaction kinds of pools."""
    return {POOL: process_pool, POOL_ADMIT: process_admit}


def process_pool(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`pool [terms]`, the fields of `Terms` in their order: open a pool, which is filled until its first period.

    Raises `WrongShape`, `RoleNotAllowed` or `TooManyPools`.
    """
    originator = transaction.sender
    (fields,) = expect_array(transaction.payload, 1, POOL)
    terms = _read_terms(fields, block.period)
    require_right(require_member(view, originator), Act.POOL)
    for kept, limit, whose in (
        (len(get_agenda(view)), MAX_POOLS, "all originators"),
        (len(get_pools_of(view, originator)), MAX_POOLS_EACH, "one originator"),
    ):
        if kept >= limit:
            raise TooManyPools(limit=limit, whose=whose)
    number = add_pool(view, terms, Pool(originator, Status.FILLING, terms.start, 0, 0, State(*[0] * 9)))
    for tranche in TRANCHES:
        add_series(view, notes_key(number), Series(NOTE, originator, (number, tranche), UNTIL_PAID))
    enter(view, number, terms.start)
    view.emit("pool-opened", number, originator, terms.start, terms.end)


def _read_terms(fields: Value, now: int) -> Terms:
    values = expect_array(fields, len(Terms._fields), "terms of a pool")
    bounds = {
        "senior_uyuan": (0, MAX_ISSUED),
        "mezz_uyuan": (0, MAX_ISSUED),
        "sched_uyuan": (0, MAX_ISSUED),
        "share_ppm": (1, PPM),
        "start": (now + 1, now + MAX_EVERY),
        "every": (1, MAX_EVERY),
        "dates": (1, MAX_DATES),
        "min_age": (0, RECORD),
        "min_credit_upt": (0, FULL_CREDIT_UPT),
    }
    return Terms._make(
        expect_int(value, f"{name} of a pool", low=low, high=high)
        for name, value in zip(Terms._fields, values, strict=True)
        for low, high in (bounds.get(name, (0, PPM)),)
    )


# --- admission -----------------------------------------------------------------------------------


def process_admit(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`pool-admit [pool, plant, value_uyuan, signature]`: buy a share of a plant's receipts for a pool, by its rules.

    Raises `WrongShape`, `UnknownPool`, `NotYourPool`, `PoolNotFilling`, `UnknownMember`, `RoleNotAllowed`,
    `InvalidSignature`, `PlantPledged`, `TooManyPlants`, `NotAdmitted` or `InsufficientBalance`.
    """
    fields = expect_array(transaction.payload, 4, POOL_ADMIT)
    number, address = expect_int(fields[0], "pool", low=1), expect_bytes(fields[1], "plant", size=ADDRESS_SIZE)
    value_uyuan = expect_int(fields[2], "value", low=1, high=MAX_AMOUNT)
    signature = expect_bytes(fields[3], "signature", size=SIGNATURE_SIZE)
    pool = _require_filling(view, number, transaction.sender)
    member = require_member(view, address)
    require_right(member, Act.PLEDGE)
    pledge = Pledge(number, address, value_uyuan, transaction.sender, transaction.sequence)
    verify(member.key, pledge.digest(block.chain_id), signature, what="pledge")
    check_unpledged(view, address)
    if len(get_plants(view, number)) >= MAX_PLANTS:
        raise TooManyPlants(pool=number, limit=MAX_PLANTS)
    _check_rules(view, block, number, address)
    pay_covered(view, transaction.sender, address, value_uyuan)
    add_plant(view, address, Plant(number, value_uyuan))
    balances = pool.balances._replace(pool=pool.balances.pool + value_uyuan)
    put_pool(view, number, pool._replace(balances=balances))
    view.emit("pool-admitted", number, address, value_uyuan)


def _require_filling(view: Overlay, number: int, sender: Address) -> Pool:
    pool = require_pool(view, number)
    if pool.originator != sender:
        raise NotYourPool(pool=number, originator=show_address(pool.originator))
    if pool.status != Status.FILLING:
        raise PoolNotFilling(pool=number, status=pool.status)
    return pool


def _check_rules(view: Overlay, block: BlockContext, number: int, address: Address) -> None:
    """Raise `NotAdmitted` by the first rule that a plant does not keep."""
    terms = get_terms(view, number)
    age, availability_ppm = judge_plant(view, block.period, address)
    periods = range(block.period, block.period + CLAIMED_AHEAD + 1)
    promised_wh = sum(get_promised_wh(view, period, address) for period in periods)
    for rule, have, want, is_kept in (
        ("age", age, terms.min_age, age >= terms.min_age),
        ("credit", credit_upt := get_account(view, address).credit_upt, terms.min_credit_upt,
         credit_upt >= terms.min_credit_upt),
        ("availability", availability_ppm, terms.min_availability_ppm, availability_ppm >= terms.min_availability_ppm),
        ("claims", promised_wh, 0, not promised_wh),
    ):  # fmt: skip
        if not is_kept:
            raise NotAdmitted(pool=number, plant=show_address(address), rule=rule, have=have, want=want)


def judge_plant(view: Overlay, now: int, address: Address) -> tuple[int, int]:
    """The age of a plant (periods) and its availability (ppm), by the meters of the last `RECORD` periods.

    A plant is as old as the first of them in which its meter was heard, and has been available in those since then in
    which it made something. Periods in which not a meter was heard do not count.
    """
    heard = [period for period in range(max(0, now - RECORD), now) if is_heard(view, period)]
    output_wh = [None if energy is None else energy[1] for energy in (get_energy(view, p, address) for p in heard)]
    first = next((place for place, wh in enumerate(output_wh) if wh is not None), None)
    if first is None:
        return 0, 0
    return now - heard[first], sum(bool(wh) for wh in output_wh) * PPM // (len(heard) - first)


# --- notes ---------------------------------------------------------------------------------------


def _issue(act: AssetAct) -> None:
    """Terms `[pool, tranche]`: issue notes to their originator, who sells them; the amount is µ¥ of principal.

    Raises `WrongShape`, `UnknownPool`, `NotYourPool`, `PoolNotFilling`, `UnknownTranche`, `TooManyNotes`, `NotCovered`,
    `NotesIssuedByOthers`, and what `issue` does.
    """
    view, (number, name) = act.view, expect_array(act.terms, 2, "terms of a note")
    pool_number, tranche = expect_int(number, "pool", low=1), expect_str(name, "tranche")
    pool, terms = _require_filling(view, pool_number, act.sender), get_terms(view, pool_number)
    if tranche not in TRANCHES:
        raise UnknownTranche(tranche=tranche, known=", ".join(TRANCHES))
    if act.receiver != act.sender:
        raise NotesIssuedByOthers(pool=pool_number)
    balances = pool.balances
    have, limit = {
        SENIOR: (balances.senior, terms.senior_uyuan),
        MEZZANINE: (balances.mezz, terms.mezz_uyuan),
    }[tranche]
    if have + act.amount > limit:
        raise TooManyNotes(pool=pool_number, tranche=tranche, want=have + act.amount, limit=limit)
    owed_uyuan = balances.senior + balances.mezz + act.amount
    if owed_uyuan > balances.pool:
        raise NotCovered(pool=pool_number, want=owed_uyuan, have=balances.pool)
    field = "senior" if tranche == SENIOR else "mezz"
    put_pool(view, pool_number, pool._replace(balances=balances._replace(**{field: have + act.amount})))
    issue(act, get_note(view, pool_number, tranche), has_holders=True)


def get_note(view: Overlay, number: int, tranche: str) -> int:
    """The number of the series of a pool's note."""
    return next(note for note, series in walk_series(view, notes_key(number)) if series.attributes[1] == tranche)


def _check_move(act: AssetAct) -> None:
    """Raise `RoleNotAllowed` unless the receiver may hold notes."""
    require_right(require_member(act.view, act.receiver), Act.HOLD_NOTE)


def _redeem(_act: AssetAct) -> None:
    raise NotRedeemable(asset_class=NOTE, detail="its pool pays it back on its dates")


def _renew(_act: AssetAct) -> None:
    raise NotRenewable(asset_class=NOTE)


def _end(_view: Overlay, _block: BlockContext, series: Series, _amount: int) -> None:
    raise AssertionError(f"a note ends with its pool, not on a day: {series}")


NOTE_POLICY = Policy(issue=_issue, check_move=_check_move, redeem=_redeem, renew=_renew, end=_end, has_holders=True)
