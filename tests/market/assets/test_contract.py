"""The asset ledger on a chain: what is issued moves, and is spent, and nothing of it is there twice."""

import pytest

from market.claim_records import CLAIM
from tests.support.asset_lab import AssetMarket
from tests.support.market_lab import PERIOD


@pytest.fixture
def market():
    return AssetMarket()


def test_a_claim_is_issued_moved_and_taken_back(market):
    assert market.claim("paul", "carol", 600) == ""
    assert market.claim("paul", "paul", 400) == ""
    market.check_assets()
    assert market.held(CLAIM, "carol") == {1: 600}
    assert market.move(CLAIM, "carol", "chen", 250, series=1) == ""
    market.check_assets()
    assert (market.held(CLAIM, "carol"), market.held(CLAIM, "chen")) == ({1: 350}, {1: 250})
    assert market.take_back("paul", 150, series=1) == ""
    market.check_assets()
    assert market.held(CLAIM, "paul") == {1: 250}
    assert market.series(1)[4:8] == (1000, 850, 150, 0)


def test_without_the_parameter_there_are_no_assets(make_market):
    market = make_market()
    payload = CLAIM, market.address("carol"), 1, (PERIOD,)
    for kind in ("asset-issue", "asset-move", "asset-redeem", "asset-renew"):
        assert market.submit("paul", kind, payload) == "UnknownKind"
