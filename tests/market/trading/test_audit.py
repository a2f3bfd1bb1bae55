"""The audit: where a market asks for it, a trade list binds only with the authority's countersignature in time."""

import pytest

from ledger.membership import sign_act
from ledger.overlay import Overlay
from market.trading.gates import ACCEPTED, CERTIFIED, NO_COUNTERSIGNATURE, SETTLED, VOID
from market.trading.period import is_countersigned
from tests.support.keys import key_of

PERIOD = 10
CHAIRS = tuple(key_of(name) for name in ("chair-1", "chair-2", "chair-3"))


def trade(market):
    """One trade of 100 kWh, its gate closed."""
    market.go("open")
    if "scheduling" in market.siblings:
        market.quota()
    assert market.bid("chen", price=500_000, volume=100_000) == ""
    assert market.offer("paul", price=400_000, volume=100_000) == ""
    market.go("gate")
    return market.gate().result_root


def countersign(market, root, *, chairs=CHAIRS[:2], period=PERIOD, chain_id=None, signed=None):
    body = ("countersign", chain_id or market.chain_id, period, signed or root)
    _, signatures = sign_act(market.network_id, body, chairs)
    return market.submit("pia", "countersign", (period, root, signatures))


@pytest.fixture
def audited(make_market):
    return make_market(audit="required")


def test_a_countersigned_list_binds(audited):
    root = trade(audited)
    assert countersign(audited, root) == ""
    audited.certify()
    audited.go("deadline")
    assert audited.gate().status == CERTIFIED
    assert is_countersigned(Overlay(audited.state), PERIOD)
    audited.go("delivery_end")
    assert audited.read("chen", consumed=100_000) == ""
    audited.go("settle")
    assert audited.gate().status == SETTLED


def test_without_a_countersignature_the_period_is_void_and_nothing_stays_reserved(audited):
    trade(audited)
    audited.certify()
    money = audited.money()
    assert audited.reserved() > 0
    audited.go("deadline", late_ms=-1)
    assert audited.gate().status == CERTIFIED
    assert ("void", PERIOD, NO_COUNTERSIGNATURE) in audited.go("deadline")
    assert (audited.gate().status, audited.reserved(), audited.money()) == (VOID, 0, money)


def test_a_countersignature_stands_in_for_no_certificate(audited):
    root = trade(audited)
    assert countersign(audited, root) == ""
    audited.go("deadline")
    assert audited.gate().status == VOID


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"chairs": CHAIRS[:1]}, "TooFewSignatures"),
        ({"chairs": (CHAIRS[0], CHAIRS[0])}, "DuplicateSigner"),
        ({"chairs": (CHAIRS[0], key_of("pia"))}, "UnknownAuthority"),
        ({"chain_id": b"\x01" * 32}, "InvalidSignature"),
        ({"signed": b"\x01" * 32}, "InvalidSignature"),
        ({"period": 11}, "NoTradeList"),
    ],
)
def test_a_countersignature_that_is_none_is_refused(audited, fields, code):
    root = trade(audited)
    assert countersign(audited, root, **fields) == code
    assert not is_countersigned(Overlay(audited.state), PERIOD)


def test_the_authority_cannot_put_another_trade_list_in_its_place(audited):
    root = trade(audited)
    assert countersign(audited, b"\x02" * 32) == "WrongTradeList"
    assert audited.gate().result_root == root


def test_one_countersigns_once_and_in_time(audited):
    root = trade(audited)
    assert countersign(audited, root) == ""
    assert countersign(audited, root) == "CountersignedAlready"
    audited.go("deadline")
    assert countersign(audited, root) == "CountersignedTooLate"


def test_a_market_without_audit_takes_none(market):
    root = trade(market)
    assert countersign(market, root) == "NoAudit"
    market.certify()
    market.go("deadline")
    assert market.gate().status == CERTIFIED


def test_beside_a_scheduling_chain_an_accepted_list_is_void_without_it(make_market):
    market = make_market(siblings=frozenset({"scheduling"}), audit="required", deadline_ppm=500_000)
    trade(market)
    assert market.verdict((0, 40_000, "feeder-1")) == ""
    assert market.gate().status == ACCEPTED
    market.go("deadline")
    assert (market.gate().status, market.reserved()) == (VOID, 0)


@pytest.mark.parametrize("is_first", [True, False])
def test_beside_a_scheduling_chain_it_may_come_before_or_after_the_verdict(make_market, is_first):
    market = make_market(siblings=frozenset({"scheduling"}), audit="required", deadline_ppm=500_000)
    root = trade(market)
    if is_first:
        assert countersign(market, root) == ""
    assert market.verdict((0, 40_000, "feeder-1")) == ""
    if not is_first:
        assert countersign(market, root) == ""
    market.go("deadline")
    assert market.gate().status == ACCEPTED
