"""Pools on a chain: admission by rule, notes against money, cash from settlements paid by the waterfall, lives."""

from __future__ import annotations

import pytest

from ledger.accounts import get_account, put_account
from ledger.contract import BlockContext
from market import errors
from market.errors import NotAdmitted, PaymentsNotWhole, PlantPledged
from market.pool_life import LIFE, Status
from market.pool_payments import check_payments, run_pools
from market.pool_records import (
    MAX_PLANTS,
    MAX_POOLS,
    MAX_POOLS_EACH,
    MEZZANINE,
    NOTE,
    SENIOR,
    Plant,
    Pool,
    add_plant,
    check_unpledged,
    enter,
    get_agenda,
    get_pot,
    put_pool,
)
from market.pools import _check_rules
from market.waterfall import Params, State
from market.waterfall import pay as pay_by_waterfall
from tests.support.keys import address
from tests.support.pool_lab import TERMS, YUAN, PoolMarket
from tests.support.worked_cases import read_cases

GOOD = {"paul": 200_000, "pia": 100_000}  # Wh a period: 82 and 41 yuan at feed-in
KEPT = 48


def statuses(market, number=1):
    return market.pool(number).status


# --- a life --------------------------------------------------------------------------------------


def test_notes_are_repaid_from_what_plants_earn():
    market = PoolMarket()
    before = market.account("fund").balance_uyuan
    pool = market.fill(mez_ppm=100_000)
    assert market.account("fund").balance_uyuan == before - 30 * YUAN
    market.deliver(TERMS.start + TERMS.every, **GOOD)
    assert statuses(market) == Status.RUNNING
    assert market.outstanding() == (50 * YUAN, 30 * YUAN)
    assert market.pool().balances.reserve == 6 * YUAN  # of the 60 that were owed
    assert market.account("fund").balance_uyuan > before - 30 * YUAN
    market.deliver(TERMS.every * TERMS.dates, **GOOD)
    assert statuses(market) == Status.REPAID
    assert market.outstanding() == (0, 0)
    assert market.plant("paul") is None
    market.deliver(KEPT + 1, **GOOD)
    assert get_agenda(market.view) == ()
    assert not [key for key, _ in market.state.items() if key.startswith(b"pool/") and key != b"pool/last"]
    assert market.view.get(b"a/" + get_pot(pool)) is None


def test_what_a_share_of_receipts_is_goes_to_the_pot_and_the_rest_stays_the_plants():
    market = PoolMarket()
    market.fill(share_ppm=250_000)
    market.deliver(TERMS.start, **GOOD)
    paul, pot = market.account("paul").balance_uyuan, market.pot_uyuan()
    market.deliver(paul=200_000)
    assert (market.account("paul").balance_uyuan - paul, market.pot_uyuan() - pot) == (
        61_500_000,
        20_500_000 + 10_250_000,
    )


def test_a_pool_that_brings_nothing_in_amortises_early_and_is_over_with_its_notes_lost():
    market = PoolMarket()
    market.fill(sen_ppm=1_000_000)
    market.deliver(TERMS.start + TERMS.every)
    assert statuses(market) == Status.AMORTISING  # 6 µ¥ of interest are unpaid
    assert market.pool().balances.default == 0  # all are silent
    market.deliver(TERMS.every * TERMS.dates)
    assert statuses(market) == Status.OVER
    assert market.outstanding() == (0, 0)
    assert [market.series(market.note(1, tranche)).expired for tranche in (SENIOR, MEZZANINE)] == [60 * YUAN, 30 * YUAN]


def test_a_pool_without_notes_is_over_as_it_would_begin():
    market = PoolMarket()
    assert market.open_pool() == ""
    assert market.pledge("paul", YUAN) == ""
    market.pass_to(TERMS.start)
    assert (statuses(market), market.plant("paul")) == (Status.OVER, None)


def test_a_plant_from_which_nothing_comes_while_others_earn_defaults_for_good_and_trips_the_trigger():
    market = PoolMarket()
    market.fill()
    market.deliver(TERMS.start + TERMS.every, paul=20_000)
    assert market.plant("pia").is_defaulted
    assert market.pool().balances.default == 30 * YUAN
    assert statuses(market) == Status.AMORTISING  # a third is above three tenths
    market.deliver(TERMS.every, paul=20_000, pia=1_000)
    assert market.plant("pia").is_defaulted
    assert statuses(market) == Status.AMORTISING


def test_a_date_that_comes_late_pays_once_for_all_the_time_since_the_last():
    market = PoolMarket()
    market.fill()
    market.deliver(TERMS.start, **GOOD)
    market.pass_to(TERMS.start + 2 * TERMS.every + 1)
    assert market.pool().since == TERMS.start + 2 * TERMS.every + 1
    assert get_agenda(market.view)[0][0] == TERMS.start + 3 * TERMS.every


def test_the_last_date_pays_out_the_reserve_too():
    market = PoolMarket()
    market.fill(reserve_ppm=1_000_000, default_trigger_ppm=1_000_000, dates=2)
    market.deliver(TERMS.start + TERMS.every, paul=40_000)
    assert market.pool().balances.reserve == market.pot_uyuan() > 0
    market.deliver(TERMS.every)
    assert statuses(market) == Status.OVER
    assert market.pot_uyuan() == 0
    assert market.series(market.note(1, SENIOR)).spent > 0


def test_what_is_left_to_the_next_block_is_done_there(monkeypatch):
    monkeypatch.setattr("market.pool_payments.PAYMENTS_PER_BLOCK", 1)
    market = PoolMarket()
    assert [market.open_pool(start=3) for _ in range(2)] == ["", ""]
    market.pass_to(3)
    assert sorted(str(statuses(market, number)) for number in (1, 2)) == ["filling", "over"]
    market.make_block()
    assert statuses(market, 2) == Status.OVER


# --- worked cases --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", read_cases("waterfall"), ids=lambda case: case["name"])
def test_a_pool_pays_as_worked_out(case):
    inputs, outputs = case["inputs"], case["outputs"]
    params = inputs["params"]
    terms = TERMS._replace(
        **{name: params[name] for name in ("fee_ppm", "sen_ppm", "mez_ppm", "reserve_ppm", "default_trigger_ppm")},
        sched_uyuan=params["sched"], senior_uyuan=10**12, mezz_uyuan=10**12, every=1, dates=10,
    )  # fmt: skip
    market = PoolMarket()
    assert market.submit("seller", "pool", (tuple(terms),)) == ""
    view, before = market.view, State(**inputs["state"])
    put_pool(view, 1, Pool(address("seller"), Status.FILLING, 0, 0, 0, before._replace(senior=0, mezz=0)))
    market._keep(view)
    market.check_pools = lambda: None  # the state is put together by hand
    for tranche, amount in ((SENIOR, before.senior), (MEZZANINE, before.mezz)):
        if amount:
            assert market.issue_note(tranche, amount) == ""
    view = market.view
    started = Pool(address("seller"), Status.AMORTISING if before.amort else Status.RUNNING, terms.start, 0, 0, before)
    put_pool(view, 1, started)
    enter(view, 1, terms.start + 1)
    cash = inputs["collections_uyuan"] + before.reserve
    put_account(view, get_pot(1), get_account(view, get_pot(1)).pay(-cash))
    context = market._next_context()
    ledger = market.params.ledger.model_copy(update={"period_ms": params["period_ms"]})
    fields = {name: getattr(context, name) for name in BlockContext.__slots__}
    fields |= {"params": market.params.model_copy(update={"ledger": ledger}), "period": terms.start + 1}
    run_pools(view, BlockContext(**fields))
    market._keep(view)
    pool = market.pool()
    assert pool.balances == State(**outputs["state"])
    assert pool.status == (Status.AMORTISING if outputs["state"]["amort"] else Status.RUNNING)
    assert market.pot_uyuan() == pool.balances.reserve
    assert market.outstanding() == (pool.balances.senior, pool.balances.mezz)


# --- refusals ------------------------------------------------------------------------------------


def test_what_may_not_be_done_is_refused_by_name():
    market = PoolMarket()
    assert market.open_pool("paul") == "RoleNotAllowed"
    assert market.open_pool(share_ppm=0) == "WrongShape"
    assert market.open_pool(start=0) == "WrongShape"
    assert market.pledge("paul", YUAN) == "UnknownPool"
    assert market.open_pool() == ""
    assert market.pledge("paul", YUAN, originator="second") == "NotYourPool"
    assert market.pledge("carol", YUAN) == "RoleNotAllowed"
    assert market.pledge("paul", YUAN, signer="pia") == "InvalidSignature"
    assert market.pledge("paul", 10**12) == "InsufficientBalance"
    assert market.issue_note(SENIOR, YUAN) == "NotCovered"
    assert market.pledge("paul", 90 * YUAN) == ""
    assert market.pledge("paul", YUAN) == "PlantPledged"
    assert market.claim("paul", "carol", 100, market.period + 4) == "PlantPledged"
    assert market.issue_note("junior", YUAN) == "UnknownTranche"
    assert market.issue_note(SENIOR, YUAN, to="fund") == "NotesIssuedByOthers"
    assert market.issue_note(SENIOR, 61 * YUAN) == "TooManyNotes"
    assert market.issue_note(SENIOR, 60 * YUAN) == ""
    assert market.move(NOTE, "seller", "carol", YUAN, 1) == "RoleNotAllowed"
    assert market.sell_note("seller", "fund", 1, YUAN, 10**10) == "InsufficientBalance"
    assert market.submit("seller", "asset-redeem", (NOTE, YUAN, 1, None)) == "NotRedeemable"
    assert market.submit("seller", "asset-renew", (NOTE, 1)) == "NotRenewable"
    market.pass_to(market.pool().since)
    assert market.issue_note(MEZZANINE, YUAN) == "PoolNotFilling"


def test_a_plant_with_claims_to_serve_is_not_admitted():
    market = PoolMarket()
    assert market.open_pool() == ""
    assert market.claim("paul", "carol", 100, market.period + 4) == ""
    assert market.pledge("paul", YUAN) == "NotAdmitted"


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("age", {"min_age": 5}),
        ("credit", {"min_credit_upt": 95_000_000}),
        ("availability", {"min_availability_ppm": 600_000}),
    ],
)
def test_a_plant_that_does_not_keep_a_rule_is_not_admitted(rule, changes):
    market = PoolMarket()
    market.deliver(paul=200_000)
    market.deliver()
    market.deliver(paul=200_000)
    market.deliver()
    assert market.open_pool() == ""
    assert market.open_pool(**changes) == ""
    assert market.pledge("paul", YUAN, 2) == "NotAdmitted"
    with pytest.raises(NotAdmitted, match=rf"pool 2 does not admit 0x.* by its rule of {rule}: that is "):
        _check_rules(market.view, market._next_context(), 2, address("paul"))
    assert market.pledge("paul", YUAN, 1) == ""


def test_pools_and_plants_are_as_many_as_may_be():
    market = PoolMarket()
    for _ in range(MAX_POOLS_EACH):
        assert market.open_pool() == ""
    assert market.open_pool() == "TooManyPools"
    view = market.view
    for number in range(MAX_PLANTS):
        add_plant(view, number.to_bytes(20, "big"), Plant(1, 0))
    market._keep(view)
    assert market.pledge("paul", YUAN) == "TooManyPlants"
    for number in range(100, 100 + MAX_POOLS - MAX_POOLS_EACH):
        enter(view, number, 10**6)
    market.check_pools = lambda: None
    view.commit()
    market._keep(view)
    assert market.open_pool("second") == "TooManyPools"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.UnknownPool(pool=3), "there is no pool 3, or none any more"),
        (errors.NotYourPool(pool=3, originator="0x01"), "pool 3 is that of 0x01"),
        (errors.PoolNotFilling(pool=3, status="running"), "pool 3 is running: plants are admitted and notes issued"),
        (errors.TooManyPools(limit=8, whose="one originator"), "8 pools of one originator are kept, the most"),
        (errors.TooManyPlants(pool=3, limit=64), "pool 3 has 64 plants, the most allowed"),
        (errors.UnknownTranche(tranche="junior", known="senior"), "no notes called 'junior', there are senior"),
        (errors.NotesIssuedByOthers(pool=3), "notes of pool 3 are issued to its originator, who sells them"),
        (errors.TooManyNotes(pool=3, tranche="senior", want=2 * YUAN, limit=YUAN), "of the senior note of pool 3"),
        (errors.NotCovered(pool=3, want=2 * YUAN, have=YUAN), "the plants of pool 3 count for"),
    ],
)
def test_a_refusal_says_what_is_wrong(error, text):
    assert text in str(error)


def test_a_pledged_plant_is_named_with_its_pool():
    market = PoolMarket()
    market.fill()
    with pytest.raises(PlantPledged, match=r"the receipts of 0x.* are pledged to pool 1 until that has ended"):
        check_unpledged(market.view, address("paul"))


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("fee", "all"),
        ("equity", "all"),
        ("sen_int", "all"),
        ("reserve_in", "the reserve"),
        ("sen_prin", "senior principal"),
        ("mez_prin", "mezzanine principal"),
    ],
)
def test_payments_that_do_not_sum_are_refused_by_name(field, what):
    before = State(1000, 700, 200, 10, 0, 0, 0, 0, 0)
    payments, after = pay_by_waterfall(before, Params(0, 0, 0, 30_000, 10**6, 1000, 1, 7), 950)
    check_payments(950, before, payments, after)
    changes = {field: getattr(payments, field) + 1}
    if what != "all":  # so that the sum is right
        changes["equity"] = payments.equity - 1 if field != "reserve_in" else payments.equity
    with pytest.raises(PaymentsNotWhole, match=f"payments of a pool that do not sum: {what} comes to "):
        check_payments(950, before, payments._replace(**changes), after)


# --- the table -----------------------------------------------------------------------------------


def test_every_state_of_a_pool_is_reached_and_left_until_it_is_forgotten():
    assert {row.after for row in LIFE} | {Status.FILLING} == set(Status)
    assert {row.before for row in LIFE} == set(Status) - {Status.FORGOTTEN}


def test_early_amortisation_is_never_left_for_an_ordinary_period():
    assert Status.RUNNING not in {row.after for row in LIFE if row.before == Status.AMORTISING}
