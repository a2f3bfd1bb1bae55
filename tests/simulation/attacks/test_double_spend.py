"""Double spend by catch-up in full nodes: as often as the exact form says, and never against finality."""

import pytest

from ledger.block import Header
from ledger.codec import decode
from node.chain import messages as wire
from node.chain.events import Broadcast, Send
from simulation.attacks.double_spend import DoubleSpend
from simulation.experiments.scenario import load_scenario
from simulation.scenarios.double_spend import DoubleSpendWorld, run
from simulation.scenarios.networks import Attacker, deal_shares, make_attack_network, open_world, pay
from simulation.theory.formulas import double_spend_exact, double_spend_strict
from simulation.theory.statistics import clopper_pearson

CONFIDENCE = 0.999


def total(rows, column):
    return sum(row[column] for row in rows)


def trials(count, seed=0, **settings):
    given = DoubleSpendWorld(**{"give_up": 9, "honest": 1, **settings})
    return [run(given, seed + number).row for number in range(count)]


def check_share(rows, column, expected):
    low, high = clopper_pearson(total(rows, column), len(rows), CONFIDENCE)
    assert low <= expected <= high, (column, total(rows, column), len(rows))


@pytest.mark.parametrize(("q", "z"), [(0.3, 1), (0.3, 3), (0.1, 2)])
def test_it_succeeds_as_often_as_the_exact_form_says(q, z):
    rows = trials(40, q=q, z=z, seed=100)
    check_share(rows, "caught_up", double_spend_exact(q, z))
    check_share(rows, "reversed", double_spend_strict(q, z))


def test_an_attacker_that_gives_up_soon_takes_back_less():
    given = {"q": 0.4, "z": 1, "give_up": 2}
    rows = trials(60, seed=300, **given)
    predicted = {metric.name: metric.theory for metric in load_scenario("double-spend").metrics[:2]}
    for name, column in (("caught up", "caught_up"), ("payment reversed", "reversed")):
        check_share(rows, column, predicted[name](DoubleSpendWorld(**given)).value)
    assert predicted["payment reversed"](DoubleSpendWorld(**given)).value < 0.8 * double_spend_strict(0.4, 1)


def test_with_most_of_the_hash_power_it_takes_back_any_payment_but_a_final_one():
    without = trials(4, q=0.7, z=4, honest=3)
    final = trials(4, q=0.7, z=4, honest=3, slot_blocks=3, accept="final")
    assert total(without, "reversed") == 4
    assert total(final, "delivered") == total(final, "caught_up") == 4
    assert total(final, "reversed") == 0


def open_race(seed):
    shares = deal_shares(0.4, 2)
    network = make_attack_network(list(shares))
    attacker = Attacker(DoubleSpend)
    world = open_world(network, shares, seed=seed, attackers={"attacker": attacker})
    payment = pay(world, network.keys["attacker"], network.keys["h0"].address)
    world.submit("attacker", payment)
    return network, world, attacker


def race_to_the_end(seed):
    network, world, attacker = open_race(seed)
    world.run_until(lambda: attacker.policy.outcome, limit_ms=3_000_000)
    world.run_for(1_000)
    return network, world, attacker


def is_released(race):
    return race[2].policy.outcome == "released"


def test_what_it_withholds_is_in_nothing_that_it_says():
    network, world, attacker = open_race(3)
    own, said = network.keys["attacker"].public_key, []

    def listen(now_ms, peer, event, actions):
        if peer == "attacker" and not attacker.policy.outcome:
            said.extend(one.message for one in actions if isinstance(one, Send | Broadcast))

    world.watch(listen)
    world.run_until(lambda: len(attacker.policy.withheld()) >= 2, limit_ms=3_000_000)
    withheld = {entry.hash for entry in attacker.policy.withheld()}
    shown = [Header.from_value(decode(one.header, max_bytes=2_000)) for one in said if isinstance(one, wire.NewBlock)]
    assert {header.producer for header in shown} - {own}, "it passes on what others seal"
    assert withheld.isdisjoint(header.hash for header in shown)
    assert withheld.isdisjoint(one.head for one in said if isinstance(one, wire.Status))
    assert all(world.node(name).chain.get_header(item) is None for item in withheld for name in ("h0", "h1"))


def test_the_released_branch_holds_the_conflicting_transaction():
    network, world, attacker = next(race for race in map(race_to_the_end, range(30)) if is_released(race))
    chain = world.node("h0").chain
    assert chain.counters.deepest_reorg >= attacker.policy.settings.confirmations
    assert chain.find_transaction(attacker.policy.payment.id) is None
    kept = [tx for entry in chain.ancestors(chain.head) if entry.block for tx in entry.block.transactions]
    assert [tx.payload[0] for tx in kept] == [network.keys["attacker"].address]


def test_the_same_seed_gives_the_same_trial_and_a_film():
    scenario = load_scenario("double-spend")
    given = DoubleSpendWorld(give_up=5)
    film = scenario.film(given, 7)
    assert film.row == run(given, 7).row
    assert {frame[1] for frame in film.replay.frames} >= {"block", "arrive", "head"}
