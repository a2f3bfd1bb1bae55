"""The agents' market does not run dry where there is a bank, and says who is about to where there is none.

`make market-of-agents` is the long form: 1 000 periods with 5 000 yuan each.
"""

from __future__ import annotations

from gridmerit.players.banking import Terms
from tests.support.market_of_agents import HOURS, YUAN, MarketOfAgents

FOUNDING_UYUAN = 1_000 * YUAN  # a fifth of what players begin with in a network that is made


def test_with_a_bank_nobody_runs_out_of_money_and_all_of_it_adds_up():
    """Each block checks the sum of all accounts."""
    market = MarketOfAgents(terms=Terms(limit_uyuan=1_000 * YUAN, every=HOURS // 4), balance_uyuan=FOUNDING_UYUAN)
    market.run(3 * HOURS)
    assert not market.is_dry
    assert not market.refused
    assert market.events["settled"] > 60
    assert market.events["topped-up"] > 50
    assert min(market.booked) > 0
    assert market.warned == {}


def test_without_one_the_market_runs_dry_and_says_so_before():
    market = MarketOfAgents(terms=None, balance_uyuan=FOUNDING_UYUAN)
    market.run(2 * HOURS)
    assert market.is_dry
    assert market.refused["UnderCreditLine"] > 0
    assert market.booked == (0, 0)
    assert len(market.dry) > 2
    assert all(market.warned[name] < period for name, period in market.dry.items())
