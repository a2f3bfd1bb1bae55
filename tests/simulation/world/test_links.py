"""Links and their messages, each fault by itself, and what a file may say of them."""

from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest

from simulation.errors import BadLinkFile, BadLinks
from simulation.theory.binomial import compute_band
from simulation.world.link_files import PACKAGED, packaged_links, parse_link_file
from simulation.world.links import Constant, Empirical, Links, SimulatedNetwork, Uniform, corrupt, lognormal

SENT = 2_000
HUNDREDTH = 10_000


def send_many(links, *, count=SENT, size=100, seed=1):
    """The arrivals of each of so many messages, one a second from a to b."""
    wires = SimulatedNetwork(links, Random(seed))
    return [wires.send(second * 1_000, "a", "b", lambda: size) for second in range(count)]


@pytest.mark.parametrize(
    ("latency", "least", "most"),
    [(Constant(7), 7, 7), (Uniform(3, 9), 3, 9), (Empirical((5, 80, 5)), 5, 80), (lognormal(100, 0.5), 20, 600)],
)
def test_delays_are_whole_and_within_their_distribution(latency, least, most):
    random = Random(2)
    delays = [latency.draw(random) for _ in range(SENT)]
    assert {type(delay) for delay in delays} == {int}
    assert least <= min(delays) <= max(delays) <= most
    assert len(set(delays)) > 1 or least == most


def test_half_of_lognormal_delays_are_below_the_median():
    table = lognormal(1_000, 0.7).delays_ms
    assert sum(delay < 1_000 for delay in table) == len(table) // 2
    assert lognormal(50, 0).delays_ms == (50,) * len(table)


def test_delays_between_regions_differ_by_direction():
    links = Links(
        latency=Constant(1),
        regions={"a": "north", "b": "south"},
        between={("north", "south"): Constant(70), ("south", "north"): Constant(90)},
    )
    wires = SimulatedNetwork(links, Random(0))
    pairs = (("a", "b"), ("b", "a"), ("a", "stranger"))
    assert [wires.send(0, *pair, lambda: 1)[0].at_ms for pair in pairs] == [70, 90, 1]


def test_messages_leave_one_after_the_other_at_the_rate_of_the_line():
    wires = SimulatedNetwork(Links(latency=Constant(10), bandwidth_bytes_per_s=1_000), Random(0))
    assert [wires.send(0, "a", to, lambda: 500)[0].at_ms for to in ("b", "c", "b")] == [510, 1_010, 1_510]
    assert wires.send(0, "c", "b", lambda: 500)[0].at_ms == 510, "each sender has a line of its own"
    assert wires.send(5_000, "a", "b", lambda: 1)[0].at_ms == 5_011, "a part of a millisecond counts as one"


@pytest.mark.parametrize("fault", ["loss_ppm", "duplicate_ppm", "corrupt_ppm"])
def test_the_share_of_a_fault_is_what_was_asked_for(fault):
    arrivals = send_many(Links(**{fault: HUNDREDTH * 5}))
    counts = {
        "loss_ppm": sum(not each for each in arrivals),
        "duplicate_ppm": sum(len(each) == 2 for each in arrivals),
        "corrupt_ppm": sum(arrival.is_corrupt for each in arrivals for arrival in each),
    }
    low, high = compute_band(SENT, Fraction(1, 20), Fraction(999, 1_000))
    assert low <= counts.pop(fault) <= high
    assert set(counts.values()) == {0}


def test_a_link_in_order_delivers_in_order_but_for_the_reordered_share():
    def overtaken(**changes):
        wires = SimulatedNetwork(Links(latency=Uniform(1, 5_000), **changes), Random(3))
        times = [wires.send(second * 100, "a", "b", lambda: 1)[0].at_ms for second in range(500)]
        return sum(later < earlier for earlier, later in pairwise(times))

    assert overtaken() > 100
    assert overtaken(in_order=True) == 0
    assert overtaken(in_order=True, reorder_ppm=100_000) > 10


def test_cuts_are_two_way_or_one_way_and_heal():
    wires = SimulatedNetwork(Links(), Random(0))
    wires.cut("a", "b", one_way=True)
    assert (wires.carries("a", "b"), wires.carries("b", "a")) == (False, True)
    wires.cut("b", "c")
    assert not wires.carries("b", "c")
    assert not wires.carries("c", "b")
    wires.heal()
    wires.partition("abcd", [{"a", "b"}, {"c"}])
    assert [wires.carries(*pair) for pair in ("ab", "ac", "cd", "ad")] == [True, False, False, False]
    assert wires.send(0, "a", "c", lambda: 1) == ()
    wires.heal()
    assert wires.carries("a", "d")


def test_corruption_changes_exactly_one_byte():
    random = Random(4)
    for size in (1, 2, 50):
        raw = bytes(range(size))
        damaged = corrupt(raw, random)
        assert sum(one != other for one, other in zip(raw, damaged, strict=True)) == 1


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Constant(-1), "delay_ms"),
        (lambda: Uniform(9, 3), "low_ms"),
        (lambda: Empirical(()), "delays_ms"),
        (lambda: Empirical((1, -2)), "delays_ms"),
        (lambda: lognormal(10, -1), "spread"),
        (lambda: lognormal(-10, 1), "median_ms"),
        (lambda: Links(loss_ppm=1_000_001), "loss_ppm"),
        (lambda: Links(corrupt_ppm=-1), "corrupt_ppm"),
        (lambda: Links(bandwidth_bytes_per_s=-1), "bandwidth_bytes_per_s"),
        (lambda: Links(reorder_ms=0), "reorder_ms"),
    ],
)
def test_impossible_links_are_refused(make, what):
    with pytest.raises(BadLinks) as caught:
        make()
    assert caught.value.values["what"] == what


@pytest.mark.parametrize("name", PACKAGED)
def test_the_packaged_files_make_links(name):
    file = packaged_links(name)
    names = [f"n{index}" for index in range(300)]
    links = file.links(names, Random(1), loss_ppm=7)
    assert set(links.regions) == set(names)
    assert links.loss_ppm == 7
    common = file.regions[max(range(len(file.regions)), key=file.shares_ppm.__getitem__)]
    assert max(set(links.regions.values()), key=list(links.regions.values()).count) == common
    assert links.regions == file.links(names, Random(1)).regions, "dealt by the seed"


GOOD = 'regions = ["a", "b"]\nshares_ppm = [400_000, 600_000]\ndelay_ms = [[1, 2], [3, 4]]\n'


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("regions = [", "end of document"),
        (GOOD + "color = 1", "color"),
        (GOOD.replace("600_000", "500_000"), "shares_ppm must have one share"),
        (GOOD.replace("[3, 4]", "[3]"), "delay_ms must have a row and a column"),
        (GOOD.replace("[3, 4]", "[3, -4]"), "delay_ms.1.1"),
        (GOOD.replace('"b"', '"a"'), "two regions share a name"),
        (GOOD + "spread = -1", "spread"),
    ],
)
def test_a_broken_file_is_refused_by_name(text, detail):
    with pytest.raises(BadLinkFile) as caught:
        parse_link_file(text, "links.toml")
    assert caught.value.values["file"] == "links.toml"
    assert detail in str(caught.value)
