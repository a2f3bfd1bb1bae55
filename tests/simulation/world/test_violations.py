"""Violations on three chains: who did otherwise than agreed stands in LH1's report, and a correction amends it."""

from __future__ import annotations

from ledger.overlay import Overlay
from market.credit.violations import Kind, get_report
from market.trading.gates import SETTLED
from simulation.world.networks import INITIAL_BALANCE_UYUAN
from tests.simulation.world.test_three_chains import MARKET, NAMES, Market, names_of

PERIOD = 5
KWH = 1_000
TERMS = {
    "clearing_rule": "knn",
    "correction_ppm": 6_000_000,
    "over_delivery_ppm": 250_000,
    "income_and_cost": "kept",
    "recorded_violations": 16,
    "tolerance_ppm": 100_000,
}
PRICES = (500_000, 520_000, 540_000, 560_000)
PLAN = (("a", 0, 400_000), ("b", 100_000, 0), ("c", 200_000, 0))


class Story(Market):
    """n0, on line a, sells 50 kWh each to n1 on b and n2 on c. n0 makes too much, n1 uses too little, n2 says nothing.

    The dispatcher commits a second target. Later n1's meter has it that all was used after all.
    """

    def act(self, period):
        now, keys, devices = self.elapsed_ppm(period), self.network.keys, self.network.devices
        dispatcher = self.network.dispatcher
        if -5_500_000 < now < -4_000_000:
            self.once(self.du1, dispatcher, "plan", period, PLAN)
            self.once(self.jy1, dispatcher, "game-target", period, PRICES)
        if -4_800_000 < now < -4_000_000 and "again" not in self.done:
            again = self.sign(self.jy1, dispatcher, "game-target", period, PRICES, sequence=1)
            assert self.jy1.submit("n0", again) == (None,)
            self.done.add("again")
        if -4_000_000 <= now < -2_000_000:
            self.once(self.jy1, keys["n0"], "intention", *self.order("n0", 1, period, 500_000, 100 * KWH))
            for name in ("n1", "n2"):
                self.once(self.jy1, keys[name], "intention", *self.order(name, 0, period, 560_000, 50 * KWH))
        if 1_000_000 <= now < 1_500_000:
            self.once(self.du1, devices["n0"], "reading", period, 0, 130 * KWH)
            self.once(self.du1, devices["n1"], "reading", period, 30 * KWH, 0)
        if now >= 3_200_000 and "late" not in self.done:
            late = self.sign(self.du1, devices["n1"], "reading", period, 50 * KWH, 0, sequence=1)
            assert self.du1.submit("n0", late) == (None,)
            self.done.add("late")

    def report(self, name):
        key = self.network.dispatcher if name == "dispatch" else self.network.keys[name]
        return get_report(Overlay(self.state(self.lh1)), key.address)

    def counts(self, name):
        return {kind: count for kind, count in zip(Kind, self.report(name).counts, strict=True) if count}

    def shown(self, name):
        return [(item.period, item.kind, item.agreed_wh, item.metered_wh) for item in self.report(name).newest]

    def check_columns(self):
        """Income less cost is what each has gained, and nothing of all of them together."""
        accounts = {name: self.account(self.jy1, name) for name in (*NAMES, "grid")}
        gains = {name: item.income_uyuan - item.cost_uyuan for name, item in accounts.items()}
        assert {name: item.balance_uyuan for name, item in accounts.items()} == {
            name: gain + (0 if name == "grid" else INITIAL_BALANCE_UYUAN) for name, gain in gains.items()
        }
        assert sum(gains.values()) == 0
        return {name: (item.income_uyuan, item.cost_uyuan) for name, item in accounts.items()}


def test_each_violation_comes_into_the_report_and_a_correction_withdraws_one():
    story = Story(first=PERIOD, last=PERIOD, market=MARKET.model_copy(update=TERMS), sealing="drawn")
    story.run_until(PERIOD, 3_100_000)
    assert story.status(PERIOD) == SETTLED
    agreed = 50 * KWH
    assert story.shown("n0") == [(PERIOD, Kind.OVER_DELIVERY, agreed, 65 * KWH)] * 2
    assert story.shown("n1") == [(PERIOD, Kind.UNDER_DELIVERY, agreed, 30 * KWH)]
    assert story.shown("n2") == [(PERIOD, Kind.MISSING_READING, agreed, None)]
    assert story.shown("n3") == []
    assert story.shown("dispatch") == [(PERIOD, Kind.SECOND_TARGET, 0, None)]
    assert len(set(names_of(story.jy1, "second-target"))) == 1
    for name in ("n0", "n1", "n2", "dispatch"):
        for item in story.report(name).newest:
            chain = story.lh1.node("n3").chain
            assert chain.get_header(chain.hash_at(item.height)).timestamp_ms <= item.time_ms
    before = story.check_columns()
    # n1 paid 30 kWh by its contract, n2 its 50 at retail; n0 fed in what nobody took of its 130
    assert before["n1"] == (0, 30 * 525_000)
    assert before["n2"] == (0, 50 * 615_000)
    assert before["n0"] == (30 * 500_000 + 100 * 410_000, 0)

    story.run_until(PERIOD, 8_000_000)
    assert story.counts("n1") == {}
    (withdrawn,) = story.report("n1").newest
    assert (withdrawn.kind, withdrawn.metered_wh, withdrawn.is_withdrawn) == (Kind.UNDER_DELIVERY, agreed, True)
    assert withdrawn.revision > 0
    assert story.counts("n0") == {Kind.OVER_DELIVERY: 2}
    assert story.counts("n2") == {Kind.MISSING_READING: 1}
    assert story.counts("dispatch") == {Kind.SECOND_TARGET: 1}
    after = story.check_columns()
    assert after["n1"] == (0, 50 * 525_000)
    assert after["n0"] == (50 * 500_000 + 80 * 410_000, 0)
    story.check_money()
    assert story.faults() == []
