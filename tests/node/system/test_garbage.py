"""Full collections walk over what is new; what a cycle holds comes back once the rest has doubled."""

import gc
import weakref

import pytest

from node.system.garbage import Collector


class Knot:
    """An object that only the collector frees."""

    def __init__(self):
        self.me = self


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


def test_survivors_of_a_full_collection_are_not_walked_over_again(collector):
    before = gc.get_freeze_count()
    held = [Knot() for _ in range(100)]
    gc.collect()
    assert gc.get_freeze_count() >= before + len(held)
    assert not any(isinstance(one, Knot) for one in gc.get_objects())


def test_a_cycle_that_is_new_is_freed_by_the_next_collection(collector):
    gone = weakref.ref(Knot())
    gc.collect()
    assert gone() is None


def test_a_cycle_among_those_set_aside_is_freed_once_their_number_has_doubled(collector):
    knot = Knot()
    gone = weakref.ref(knot)
    gc.collect()
    del knot
    gc.collect()
    assert gone() is not None, "it has been set aside"
    held = [[] for _ in range(gc.get_freeze_count() + 1_000)]
    gc.collect()
    gc.collect()
    gc.collect()
    assert gone() is None
    assert gc.get_freeze_count() > len(held)


def test_the_process_has_its_collector_back():
    Collector().close()
    assert gc.get_freeze_count() == 0
    assert not any("Collector" in repr(one) for one in gc.callbacks)
