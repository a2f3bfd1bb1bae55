"""The network's other chains, as a chain's state knows them."""

from ledger.overlay import Overlay
from ledger.siblings import Sibling, find_sibling, get_sibling, put_sibling
from ledger.state import State

FIRST = Sibling(name="DU1", kind="scheduling", checkpoint_m=2, since_slot=0, sealers=(b"a" * 32, b"b" * 32))
SECOND = Sibling(name="LH1", kind="credit", checkpoint_m=0, since_slot=7, sealers=())


def test_a_sibling_is_known_by_the_id_of_its_chain():
    view = Overlay(State.empty())
    put_sibling(view, b"\x01" * 32, FIRST)
    put_sibling(view, b"\x02" * 32, SECOND)
    view.commit()
    view = Overlay(view.finish()[0])
    assert get_sibling(view, b"\x01" * 32) == FIRST
    assert get_sibling(view, b"\x02" * 32) == SECOND
    assert get_sibling(view, b"\x03" * 32) is None


def test_a_change_of_members_replaces_the_record():
    view = Overlay(State.empty())
    put_sibling(view, b"\x01" * 32, FIRST)
    changed = FIRST._replace(since_slot=9, sealers=(b"c" * 32,))
    put_sibling(view, b"\x01" * 32, changed)
    assert get_sibling(view, b"\x01" * 32) == changed
    view.commit()
    assert find_sibling(view, "DU1") == (b"\x01" * 32, changed)
    assert len(view.finish()[0]) == 2  # by id, and by name
