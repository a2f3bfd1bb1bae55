"""A whole period under each clearing rule, on chain: who trades, what is kept and certified, and that money stays."""

from typing import get_args, get_type_hints

import pytest

from ledger.codec import encode
from ledger.errors import Malformed
from ledger.merkle import verify_inclusion
from ledger.params import MarketParams, MatchingWeights
from market.orders import Order, Side
from market.trading.clearing_rules import RULES, is_by_merit, is_by_target
from market.trading.gates import SETTLED
from market.trading.matching_weight import WeightedOrder, WeightInputs, weigh_book
from market.trading.trades import Match, Party, TradeRecord, decode_trade_leaf, encode_trade_leaf
from market.trading.views import get_book, get_candidates, get_settlement, get_trades, prove_trade

PERIOD = 10
KWH = 1_000
POINT = 1_000_000
BUYERS = {"carol": 560_000, "chen": 540_000, "rosa": 520_000}
SELLERS = {"paul": 450_000, "pia": 500_000}
ROLES = {"carol": "consumer", "chen": "consumer", "rosa": "prosumer", "paul": "producer", "pia": "producer"}

# price-time   carol (560) meets paul (450), chen (540) what paul has left and pia (500), rosa (520) the rest of pia's
# volumes      bids of 100 kWh each, paul offers 150, pia 100
PRICE_TIME = [
    ("carol", "paul", 505_000, 100 * KWH),
    ("chen", "paul", 495_000, 50 * KWH),
    ("chen", "pia", 520_000, 50 * KWH),
    ("rosa", "pia", 510_000, 50 * KWH),
]
EXPECTED = {
    "price-time": PRICE_TIME,
    "pay-as-bid": [(buyer, seller, BUYERS[buyer], volume) for buyer, seller, _, volume in PRICE_TIME],
    # 250 kWh are traded, rosa's bid is filled in part and nothing is left on offer: her 520 is the only price
    "uniform-price": [(buyer, seller, 520_000, volume) for buyer, seller, _, volume in PRICE_TIME],
}


def place_orders(market):
    for name, price in BUYERS.items():
        assert market.bid(name, price=price, volume=100 * KWH) == ""
    assert market.offer("paul", price=SELLERS["paul"], volume=150 * KWH) == ""
    assert market.offer("pia", price=SELLERS["pia"], volume=100 * KWH) == ""


def show(market, trades):
    names = {market.address(name): name for name in (*BUYERS, *SELLERS)}
    return [(names[t.buyer], names[t.seller], t.price_uyuan_per_kwh, t.volume_wh) for t in trades]


def test_every_rule_is_a_parameter_and_every_parameter_a_rule():
    assert get_args(get_type_hints(MarketParams)["clearing_rule"]) == tuple(RULES)
    assert MarketParams().clearing_rule == "price-time"
    assert [name for name in RULES if is_by_merit(name)] == ["credit-weighted"]
    assert [name for name in RULES if is_by_target(name)] == ["knn"]


# --- a whole period ------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_period_is_cleared_delivered_and_settled_and_money_stays(make_market, rule):
    market = make_market(clearing_rule=rule)
    money = market.money()
    place_orders(market)
    held = market.reserved()
    market.go("gate")
    trades = get_trades(market.state, PERIOD)
    assert sum(trade.volume_wh for trade in trades) == 250 * KWH
    assert get_book(market.state, PERIOD) == []
    assert 0 < market.reserved() <= held
    assert market.money() == money
    market.certify()
    market.go("delivery_end")
    for name in BUYERS:
        assert market.read(name, consumed=90 * KWH) == ""
    for name in SELLERS:
        assert market.read(name, produced=110 * KWH) == ""
    market.go("settle")
    assert market.gate().status == SETTLED
    assert (market.money(), market.reserved()) == (money, 0)
    settled = get_settlement(market.state, PERIOD)
    assert len(settled.trades) == len(trades)
    assert all(row.buyer_pays_uyuan == row.seller_receives_uyuan + row.grid_receives_uyuan for row in settled.trades)


@pytest.mark.parametrize("rule", EXPECTED)
def test_the_gate_clears_by_the_chains_rule(make_market, rule):
    market = make_market(clearing_rule=rule)
    place_orders(market)
    weights = weigh_book(get_candidates(market.state, PERIOD))
    orders = dict(zip((*BUYERS, *SELLERS), range(5), strict=True))
    market.go("gate")
    trades = get_trades(market.state, PERIOD)
    assert show(market, trades) == EXPECTED[rule]
    for trade, (buyer, seller, *_) in zip(trades, show(market, trades), strict=True):
        for party, name in ((trade.match.bid, buyer), (trade.match.offer, seller)):
            assert party == Party(
                orders[name], ROLES[name], 90 * POINT, "feeder-1", weights[orders[name]].contributions
            ), "every field is filled, whatever decides"


@pytest.mark.parametrize(("k_ppm", "price"), [(0, 500_000), (500_000, 530_000), (1_000_000, 560_000)])
def test_k_is_the_chains(make_market, k_ppm, price):
    market = make_market(clearing_rule="uniform-price", k_ppm=k_ppm)
    market.bid("carol", price=560_000, volume=KWH)
    market.offer("pia", price=500_000, volume=KWH)
    market.go("gate")
    assert [trade.price_uyuan_per_kwh for trade in get_trades(market.state, PERIOD)] == [price]


# --- merit ---------------------------------------------------------------------------------------


def test_what_counts_of_a_sender_is_what_it_was_registered_with(make_market):
    market = make_market(registered={"paul": {"capacity_wh": 7 * KWH, "renewable_ppm": 8, "stability_ppm": 9}})
    market.offer("paul", price=500_000, volume=KWH)
    (candidate,) = get_candidates(market.state, PERIOD)
    order = Order(0, market.address("paul"), Side.OFFER, 500_000, KWH, 0)
    assert candidate == WeightedOrder(order, 90 * POINT, 7 * KWH, 8, "feeder-1", 9)


def test_two_offers_differ_in_weight_by_the_audited_share_alone(make_market):
    # 0.5 for renewables and 0.6 for stability: 1.1 between all and nothing, as registered
    registered = {"pia": {"renewable_ppm": 1_000_000, "stability_ppm": 1_000_000}}
    market = make_market(clearing_rule="credit-weighted", registered=registered)
    market.bid("carol", price=560_000, volume=200 * KWH)
    market.offer("paul", price=500_000, volume=100 * KWH)
    market.offer("pia", price=500_000, volume=100 * KWH)
    market.go("gate")
    first, second = get_trades(market.state, PERIOD)
    assert [market.address("pia"), market.address("paul")] == [first.seller, second.seller]
    assert first.match.w_ppm - second.match.w_ppm == 1_100_000
    assert market.submit("paul", "intention", (1, PERIOD, 500_000, KWH, 1_000_000, 1_000_000)) == "WrongShape"


def test_credit_counts_as_it_is_at_the_gate_and_not_as_it_was_when_the_order_came(make_market):
    # paul asks less; pia has more credit after paul's penalty, and only credit counts
    only_credit = MatchingWeights(**{**dict.fromkeys(MatchingWeights.model_fields, 0), "credit_ppm": 1_000_000})
    market = make_market(clearing_rule="credit-weighted", weights=only_credit)
    market.bid("carol", price=560_000, volume=100 * KWH)
    market.offer("paul", price=450_000, volume=100 * KWH)
    market.offer("pia", price=500_000, volume=100 * KWH)
    set_credit(market, "paul", 80 * POINT)
    market.go("gate")
    (trade,) = get_trades(market.state, PERIOD)
    assert show(market, [trade]) == [("carol", "pia", 530_000, 100 * KWH)]
    of_credit = WeightInputs(0, 900_000, 0, 0, 0, 0, 0)
    assert trade.match.bid == Party(0, "consumer", 90 * POINT, "feeder-1", of_credit)
    assert trade.match.offer == Party(2, "producer", 90 * POINT, "feeder-1", of_credit)
    assert (trade.match.w_ppm, trade.match.bid.weight_ppm) == (900_000, 900_000)


def set_credit(market, name, credit_upt):
    """Do what deliveries of other periods would have done."""
    from ledger.accounts import put_account
    from ledger.overlay import Overlay

    view = Overlay(market.state)
    put_account(view, market.address(name), market.account(name)._replace(credit_upt=credit_upt))
    view.commit()
    market.state = view.finish()[0]


def test_the_weights_of_a_match_are_those_of_its_bid_and_its_offer(make_market):
    market = make_market(clearing_rule="credit-weighted")
    place_orders(market)
    weights = weigh_book(get_candidates(market.state, PERIOD))
    owners = {order.owner: order.order_id for order in get_book(market.state, PERIOD)}
    market.go("gate")
    trades = get_trades(market.state, PERIOD)
    assert trades
    for trade in trades:
        bid, offer = weights[owners[trade.buyer]], weights[owners[trade.seller]]
        assert (trade.match.bid.contributions, trade.match.offer.contributions) == (bid[1], offer[1])
        assert (trade.match.bid.weight_ppm, trade.match.w_ppm) == (bid.total_ppm, offer.total_ppm)


def test_members_certify_the_weights_with_the_trade(make_market):
    market = make_market(clearing_rule="credit-weighted")
    place_orders(market)
    events = market.go("gate")
    root, trades = market.gate().result_root, get_trades(market.state, PERIOD)
    for trade in trades:
        leaf, proof, count = prove_trade(market.state, market.params.market, PERIOD, trade.trade_index)
        verify_inclusion(root, leaf, trade.trade_index, count, proof)
        assert decode_trade_leaf(leaf) == trade
        assert encode_trade_leaf(trade._replace(match=None)) != leaf
    assert [event[1:] for event in events if event[0] == "trade"] == [trade[:6] for trade in trades]


# --- the leaf ------------------------------------------------------------------------------------

PLAIN = TradeRecord(3, 0, b"a" * 20, b"b" * 20, 500_000, 7)
BID = Party(4, "consumer", 90 * POINT, "feeder-1", WeightInputs(1, 2, 3, 4, 5, 6, 7))
OFFER = Party(5, "producer", 0, "", WeightInputs(*[1_000_000] * 7))
MATCHED = PLAIN._replace(match=Match(BID, OFFER))


def test_a_leaf_without_its_match_is_the_six_fields():
    assert encode_trade_leaf(PLAIN) == encode((3, 0, b"a" * 20, b"b" * 20, 500_000, 7))
    assert decode_trade_leaf(encode_trade_leaf(PLAIN)) == PLAIN


def test_a_leaf_with_its_match_reads_back():
    assert decode_trade_leaf(encode_trade_leaf(MATCHED)) == MATCHED


def test_a_leaf_has_id_type_credit_position_price_and_weight_of_both_sides():
    """⟨TradeResult, ID, t, q, l, p, w⟩ of text 000, section 4.2, step 4."""
    *terms, (bid, offer) = MATCHED.to_value()
    assert terms == [3, 0, b"a" * 20, b"b" * 20, 500_000, 7]
    assert bid == (4, "consumer", 90 * POINT, "feeder-1", (1, 2, 3, 4, 5, 6, 7))
    assert offer == (5, "producer", 0, "", (1_000_000,) * 7)
    assert (MATCHED.match.bid.weight_ppm, MATCHED.match.w_ppm) == (28, 7_000_000)


@pytest.mark.parametrize(
    "fields",
    [
        PLAIN[:5],
        (*PLAIN[:6], None),
        (*PLAIN[:6], ()),
        (*PLAIN[:6], (BID.to_value(),)),
        (*PLAIN[:6], (BID.to_value(), BID.to_value()[:4])),
        (*PLAIN[:6], (BID.to_value(), (*BID.to_value()[:4], (1,) * 6))),
        (*PLAIN[:6], (BID.to_value(), (*BID.to_value()[:4], (1,) * 6 + (-1,)))),
        (*PLAIN[:6], (BID.to_value(), (*BID.to_value()[:4], (1,) * 6 + (1_000_001,)))),
        (*PLAIN[:6], (BID.to_value(), ("x", *BID.to_value()[1:]))),
        (*PLAIN[:6], (BID.to_value(), (5, "y" * 65, *BID.to_value()[2:]))),
        (*PLAIN[:6], (BID.to_value(), OFFER.to_value()), 0),
    ],
)
def test_a_leaf_of_another_shape_is_refused(fields):
    with pytest.raises(Malformed):
        decode_trade_leaf(encode(tuple(fields)))


# --- ties ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("ties", "sold_wh"), [("time", {"pia": 10}), ("pro-rata", {"pia": 5, "paul": 5})])
def test_equal_offers_share_where_the_chain_says_so(make_market, rule, ties, sold_wh):
    only_credit = MatchingWeights(**{**dict.fromkeys(MatchingWeights.model_fields, 0), "credit_ppm": 1_000_000})
    market = make_market(clearing_rule=rule, ties=ties, weights=only_credit)
    market.bid("carol", price=560_000, volume=10)
    market.offer("pia", price=500_000, volume=10)
    market.offer("paul", price=500_000, volume=10)
    market.go("gate")
    trades = show(market, get_trades(market.state, PERIOD))
    assert {seller: volume for _, seller, _, volume in trades} == sold_wh
