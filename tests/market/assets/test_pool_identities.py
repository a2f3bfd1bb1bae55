"""Seeded sequences of all that may be done with pools and notes: every identity after every block."""

from __future__ import annotations

from collections import Counter
from random import Random

from market.pool_life import Status
from market.pool_records import MEZZANINE, NOTE, SENIOR, get_agenda
from tests.support.pool_lab import ROLES, TERMS, YUAN, PoolMarket

PLANTS = ("paul", "pia", "rosa")
ORIGINATORS = ("seller", "second")
STEPS = 150


class Play(PoolMarket):
    """A market in which somebody does something at random.

    `PoolMarket` holds every block to what must hold of pools and of money.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)
        self.codes: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.begun: set[int] = set()  # pools in which early amortisation has begun

    def step(self) -> None:
        acts = [self.begin_pool, self.pledge_some, self.issue_some, self.sell_some, self.sell_some, self.pass_time]
        self.random.choice([*acts, self.pledge_some, self.issue_some, self.issue_some])()
        for _, number in get_agenda(self.view):
            pool = self.pool(number)
            self.statuses[pool.status] += 1
            assert number not in self.begun or pool.status != Status.RUNNING
            if pool.status == Status.AMORTISING:
                self.begun.add(number)

    def any_pool(self) -> tuple[int, str]:
        """A pool and an originator: mostly one that is filling and its own, now and then any."""
        pools = [(number, self.pool(number)) for _, number in get_agenda(self.view)]
        filling = [(number, pool) for number, pool in pools if pool.status == Status.FILLING]
        number, pool = self.random.choice(filling or pools or [(99, None)])
        if pool is None or self.random.randrange(6) == 0:
            return self.random.choice([*[number for number, _ in pools], 99]), self.random.choice(ORIGINATORS)
        return number, next(name for name in ORIGINATORS if self.address(name) == pool.originator)

    def begin_pool(self) -> None:
        changes = {
            "start": self.period + self.random.randrange(3, 9),
            "every": self.random.randrange(1, 4),
            "dates": self.random.randrange(1, 6),
            "share_ppm": self.random.choice([1, 333_333, 1_000_000]),
            "mez_ppm": self.random.choice([0, 1_000_000]),
            "sen_ppm": self.random.choice([0, 999_999]),
            "sched_uyuan": self.random.choice([0, 7, 20 * YUAN]),
            "default_trigger_ppm": self.random.choice([0, 400_000, 1_000_000]),
        }
        self.codes[self.open_pool(self.random.choice([*ORIGINATORS, "paul"]), **changes)] += 1

    def pledge_some(self) -> None:
        number, originator = self.any_pool()
        value = self.random.choice([1, 30 * YUAN, 60 * YUAN])
        self.codes[self.pledge(self.random.choice(PLANTS), value, number, originator=originator)] += 1

    def issue_some(self) -> None:
        number, originator = self.any_pool()
        amount = self.random.choice([1, 10, 10 * YUAN, TERMS.mezz_uyuan, TERMS.senior_uyuan])
        self.codes[self.issue_note(self.random.choice([SENIOR, MEZZANINE]), amount, number, originator)] += 1

    def sell_some(self) -> None:
        held = [(name, *item) for name in ROLES for item in self.held(NOTE, name).items()]
        if held:
            name, note, have = self.random.choice(held)
            amount = self.random.choice([have, have + 1, self.random.randint(1, have)])
            buyer = self.random.choice([*ROLES, "carol"])
            self.codes[self.sell_note(name, buyer, note, amount, self.random.choice([0, amount]))] += 1

    def pass_time(self) -> None:
        if self.random.randrange(20) == 0:
            self.pass_to(self.period + self.random.randrange(2, 60))
        output = {plant: self.random.choice([0, 1, 7_777, 200_000]) for plant in PLANTS}
        self.deliver(1, **output)


def test_whatever_is_done_cash_is_paid_or_kept_and_notes_are_what_they_are_owed():
    codes: Counter[str] = Counter()
    statuses: set[str] = set()
    for seed in range(6):
        play = Play(seed)
        for _ in range(STEPS):
            play.step()
        codes += play.codes
        statuses |= set(map(str, play.statuses))
    assert codes[""] > 200, codes
    assert {"NotYourPool", "UnknownPool", "PlantPledged", "NotCovered", "TooManyNotes", "TooFewLots"} <= set(codes), (
        codes
    )
    assert statuses == set(map(str, Status)) - {"forgotten"}
