"""Agreement, validity and progress in seeded worlds; the same checker finds bugs that are planted."""

from dataclasses import replace
from itertools import product

import pytest

import consensus.pbft.validators
from consensus.pbft.replica import Pbft
from consensus.pbft.validators import Committee
from consensus.quorum import verify_signatures
from tests.consensus.pbft.pbft_world import Violation, Weather, World, run_seed

SEEDS, CHUNK = 520, 40
PARTITIONS_OF_4 = (
    ("0123",),
    *(("0", "123"), ("1", "023"), ("2", "013"), ("3", "012")),
    *(("01", "23"), ("02", "13"), ("03", "12")),
    *(("01", "2", "3"), ("02", "1", "3"), ("03", "1", "2"), ("12", "0", "3"), ("13", "0", "2"), ("23", "0", "1")),
    ("0", "1", "2", "3"),
)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_honest_replicas_agree_and_get_on(first):
    for seed in range(first, first + CHUNK):
        run_seed(seed)


def test_the_same_seed_is_the_same_world():
    one, other = (World(11, 7).run() for _ in range(2))
    assert (one.now_ms, one.decided, one.signed) == (other.now_ms, other.decided, other.signed)


@pytest.mark.parametrize(
    "liars", [{0: "silent"}, {1: "twins"}, {2: "liar"}, {3: "amnesiac"}, {1: "amnesiac", 2: "twins", 3: "liar"}]
)
def test_f_liars_of_any_kind_stop_nobody(liars):
    n = 4 if len(liars) == 1 else 10
    world = World(5, n, heights=6, weather=Weather(), kinds=liars).run()
    assert len(world.decided) == 6


@pytest.mark.parametrize(("kind", "settles_ms"), [("liar", 0), ("twins", 0), ("amnesiac", 1_500)])
def test_whoever_signs_twice_may_be_convicted(kind, settles_ms):
    weather = Weather(settles_ms=settles_ms, latency_ms=80)
    worlds = (World(seed, 4, heights=6, weather=weather, kinds={1: kind}) for seed in range(60))
    assert any(world.run().convicted for world in worlds)


# --- all partitions of four ----------------------------------------------------------------------


@pytest.mark.parametrize("first", PARTITIONS_OF_4, ids="|".join)
def test_every_partition_of_four_after_every_other(first):
    for seed, second in enumerate(PARTITIONS_OF_4):
        world = World(seed, 4, weather=Weather(settles_ms=1_400, latency_ms=40), kinds={})
        world.at(0, lambda world=world: world.split(*first))
        world.at(700, lambda world=world, second=second: world.split(*second))
        world.run()


@pytest.mark.parametrize("groups", PARTITIONS_OF_4, ids="|".join)
def test_a_quorum_gets_on_without_the_rest_and_nobody_else_does(groups):
    world = World(1, 4, weather=Weather(settles_ms=10**6), kinds={})
    for host in world.hosts:
        host.boot()
    world.split(*groups)
    world.run_until(lambda: False, 20_000)
    for group in groups:
        for member in group:
            assert len(world.hosts[int(member)].chain) == (3 if len(group) >= 3 else 0)


@pytest.mark.parametrize(("first", "second"), list(product("0123", repeat=2)))
def test_leaders_that_crash_in_turn_are_replaced(first, second):
    # the leader of height 1 is member 1, of height 2 member 2 …
    world = World(1, 4, weather=Weather(settles_ms=3_000), kinds={})
    world.at(1, lambda: world.crash(world.hosts[int(first)], 1_500))
    world.at(1_600, lambda: world.crash(world.hosts[int(second)], 1_000))
    world.run()


# --- bugs that must be found ---------------------------------------------------------------------


class SmallCommittee(Committee):
    __slots__ = ()

    @property
    def quorum(self):
        return Committee.quorum.fget(self) - 1


class SmallQuorum(Pbft):
    """A quorum one too small."""

    def _make_committee(self, validators, since_slot=0):
        return SmallCommittee(chain_id=self._chain_id, validators=validators, since_slot=since_slot)


class ForgetsPrepared(Pbft):
    """A view change without the prepared certificate."""

    def _move_to(self, view):
        self._record = replace(self._record, prepared=None)
        super()._move_to(view)


def find(n: int, *, seeds: int = 1_000, **options) -> Violation:
    for seed in range(seeds):
        try:
            World(seed, n, **options).run()
        except Violation as violation:
            return violation
    raise AssertionError(f"no violation in {seeds} seeds")


@pytest.mark.parametrize(("n", "kinds"), [(4, None), (7, {1: "twins", 2: "twins"})])
def test_a_quorum_one_too_small_is_found(n, kinds, monkeypatch):
    monkeypatch.setattr(consensus.pbft.validators, "verify_certificate", verify_what_is_there)
    monkeypatch.setattr(World, "verify", lambda self, certificate: verify_what_is_there(certificate))
    assert "two blocks are decided" in str(find(n, kinds=kinds, engine=SmallQuorum))


def verify_what_is_there(certificate, *args, **options):
    """As `verify_certificate`, which would not hear of such a quorum."""
    verify_signatures(certificate.statement.digest(), certificate.signatures)


@pytest.mark.parametrize("n", [4, 7])
def test_a_forgotten_prepared_certificate_is_found(n):
    assert "two blocks are decided" in str(find(n, engine=ForgetsPrepared))


@pytest.mark.parametrize("n", [4, 7])
def test_a_record_that_is_not_kept_is_found(n):
    assert "signs two" in str(find(n, forgets=True))
