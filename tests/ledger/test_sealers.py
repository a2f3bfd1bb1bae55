"""The passing on of the right to certify: announced at a boundary, in force once the set before has certified that."""

from dataclasses import dataclass, replace

import pytest

from ledger.accounts import get_sealers, put_sealers
from ledger.checkpoints import get_undecided, mark_certified
from ledger.contract import Contracts
from ledger.errors import WrongShape
from ledger.genesis import Genesis, GenesisMember
from ledger.inbox import InboundMessage
from ledger.membership import membership_hooks
from ledger.outbox import get_entries, outbox_key
from ledger.overlay import Overlay
from ledger.params import ChainParams, ConsensusParams, LedgerParams
from ledger.sealers import (
    are_voters_known,
    get_announced,
    get_known_sealers,
    get_voters,
    get_wanted_sealers,
    put_wanted_sealers,
    receive_sealers,
)
from ledger.siblings import find_sibling
from ledger.snapshot import get_snapshot
from tests.support.keys import key_of

PERIOD_MS, SLOT_MS = 20_000, 5_000
OLD = tuple(sorted(key_of(name).public_key for name in ("anna", "bert", "cleo")))
NEW = tuple(sorted((*OLD[:2], key_of("emil").public_key)))


@dataclass
class Chain:
    """A trading chain beside a credit chain: four slots a period, a checkpoint given up after as many."""

    lab: object
    slot: int = 0

    def __post_init__(self):
        self.entry = self.lab.root

    @property
    def view(self):
        return Overlay(self.entry.state)

    def edit(self, change):
        """Change the head's state as a transaction would."""
        view = Overlay(self.entry.state)
        change(view)
        view.commit()
        self.entry = replace(self.entry, state=view.finish()[0])

    def want(self, keys=NEW):
        self.edit(lambda view: put_wanted_sealers(view, keys))

    def certify(self, slot):
        self.edit(lambda view: mark_certified(view, next(item for item in get_undecided(view) if item.slot == slot)))

    def block(self, slot=None):
        """The next block, the first of a slot where one is named."""
        at_ms = self.lab.genesis.time_ms + (slot * SLOT_MS if slot else 0)
        at_ms = max(at_ms, self.entry.header.timestamp_ms + 1)
        self.entry = self.lab.add(self.entry, timestamp_ms=at_ms)
        return self.entry.execution.events if self.entry.execution else ()

    def posted(self):
        """(number, rows) of what other chains are to hear of sealers."""
        view = self.view
        entries = [entry for entry in get_entries(view) if entry.kind == "sealers"]
        return [(entry.number, view.get(outbox_key("sealers", entry.number, 0))[1]) for entry in entries]

    def voters(self, *slots):
        return [get_voters(self.view, slot).keys for slot in slots]

    def since(self, *slots):
        return [get_voters(self.view, slot).since_slot for slot in slots]


def make_chain(make_lab, engine="poca"):
    members = [GenesisMember(name="grid", role="grid-operator", key=key_of("grid").public_key)]
    for name in ("anna", "bert", "cleo"):
        key = key_of(name).public_key
        members.append(GenesisMember(name=name, role="prosumer", key=key, seals=True))
    ledger = LedgerParams(period_ms=PERIOD_MS, max_transaction_bytes=65_536)
    genesis = Genesis(
        params=ChainParams(name="JY1", ledger=ledger, consensus=ConsensusParams(engine=engine)),
        time_ms=1_700_000_000_000,
        members=tuple(members),
        siblings=(ChainParams(name="LH1", kind="credit", ledger=ledger),),
    )
    return Chain(make_lab(genesis=genesis, contracts=Contracts(handlers={}, early_hooks=membership_hooks())))


@pytest.fixture
def chain(make_lab):
    return make_chain(make_lab)


def test_nothing_changes_before_the_boundary(chain):
    chain.block()
    chain.want()
    for slot in (1, 2, 3):
        chain.block(slot)
        assert get_sealers(chain.view) == OLD
        assert set(get_snapshot(chain.entry.state).members) == set(OLD)
    assert chain.posted() == []
    assert get_known_sealers(chain.view) == {*OLD, *NEW}


def test_the_boundary_fixes_who_may_seal_and_announces_who_will_certify(chain):
    chain.want()
    chain.block(4)
    assert set(get_snapshot(chain.entry.state).members) == set(NEW)
    assert get_sealers(chain.view) == OLD
    assert get_announced(chain.view)[:2] == (5, 1)
    assert chain.posted() == [(1, tuple((5, key) for key in NEW))]
    assert chain.voters(3, 4, 5, 9) == [OLD, OLD, (), ()], "nobody's, until slot 4 is certified"


def test_the_new_set_is_in_force_once_the_old_one_has_certified_the_announcement(chain):
    chain.want()
    chain.block(4)
    chain.block()
    chain.block(5)
    assert get_sealers(chain.view) == OLD, "however long it takes"
    chain.certify(4)
    chain.block()
    assert get_sealers(chain.view) == NEW
    assert get_announced(chain.view) is None
    assert chain.voters(3, 4, 5, 9) == [OLD, OLD, NEW, NEW]
    assert chain.since(3, 4, 5, 9) == [0, 0, 5, 5]
    chain.block(8)
    assert len(chain.posted()) == 1, "a set that stays is announced once"
    assert chain.voters(4, 5) == [OLD, NEW]


def test_every_set_is_named_by_the_slot_since_which_it_certifies(chain):
    for slot, before, keys in ((4, 0, NEW), (8, 5, NEW[:2])):
        chain.want(keys)
        chain.block(slot)
        assert chain.since(slot, slot + 1) == [before, slot + 1], "the one that is announced, too"
        chain.block()
        chain.certify(slot)
        chain.block()
    assert chain.voters(5, 8, 9) == [NEW, NEW, NEW[:2]]
    assert chain.since(5, 8, 9) == [5, 5, 9]
    assert chain.since(4) == [5], "two changes back, nobody certifies any more"


def test_a_certificate_of_an_earlier_slot_is_not_enough(chain):
    chain.block(3)
    chain.block()
    chain.want()
    chain.block(4)
    chain.certify(3)
    chain.block()
    assert get_sealers(chain.view) == OLD


def test_an_announcement_that_is_given_up_is_taken_back_and_made_again(chain):
    chain.want()
    chain.block(4)
    for slot in (5, 6, 7):
        chain.block(slot)
        assert chain.posted() == [(1, tuple((5, key) for key in NEW))]
    third = tuple(sorted(NEW[:2]))
    chain.want(third)
    chain.block(8)
    assert chain.posted() == [(2, tuple((9, key) for key in third))], "by then another set is wanted"
    assert chain.voters(8, 9) == [OLD, ()]
    chain.block()
    chain.certify(8)
    chain.block()
    assert get_sealers(chain.view) == third


def test_an_announcement_is_made_again_within_a_period(chain):
    chain.want()
    chain.block(6)  # no block in slots 4 and 5
    assert chain.posted() == [(1, tuple((7, key) for key in NEW))]
    chain.block(11)  # gives up slot 6 and 7; a boundary passed meanwhile
    assert chain.posted() == [(2, tuple((12, key) for key in NEW))]
    chain.block(15)
    assert chain.posted() == [(3, tuple((16, key) for key in NEW))]


def test_a_change_taken_back_before_it_was_certified_leaves_nothing_to_hear(chain):
    chain.want()
    chain.block(4)
    chain.want(OLD)
    chain.block(8)
    assert (chain.posted(), get_announced(chain.view)) == ([], None)
    assert chain.voters(5, 8, 9) == [OLD, OLD, OLD]
    assert chain.since(5, 8, 9) == [0, 0, 0]


def test_which_votes_can_be_judged_already(chain):
    params = chain.lab.params.consensus
    chain.block(2)
    assert [are_voters_known(chain.view, slot, params) for slot in (1, 4, 5)] == [True, True, False]
    chain.want()
    chain.block(4)
    assert [are_voters_known(chain.view, slot, params) for slot in (4, 5)] == [True, False]
    chain.block()
    chain.certify(4)
    chain.block()
    assert [are_voters_known(chain.view, slot, params) for slot in (5, 8, 9)] == [True, True, False]


def test_under_pbft_the_set_is_in_force_with_the_next_height(make_lab):
    chain = make_chain(make_lab, engine="pbft")
    chain.block()
    chain.want()
    chain.block()
    assert get_sealers(chain.view) == OLD
    chain.block(4)
    height = chain.entry.height
    assert get_sealers(chain.view) == NEW
    assert set(get_snapshot(chain.entry.state).members) == set(NEW)
    assert chain.voters(height, height + 1) == [OLD, NEW]
    assert chain.since(height, height + 1) == [0, height + 1]
    assert chain.posted() == [(1, tuple((height + 1, key) for key in NEW))]


# --- the other chains ------------------------------------------------------------------------------


def deliver(*rows, number=1, part=0, parts=1, is_complete=True):
    return InboundMessage(
        source="LH1",
        kind="sealers",
        number=number,
        part=part,
        parts=parts,
        rows=rows,
        is_complete=is_complete,
        block_hash=bytes(32),
        height=9,
    )


def test_another_chain_learns_of_the_change_once_it_has_all_parts(chain):
    def first(view):
        receive_sealers(view, None, deliver((5, NEW[2]), part=1, parts=2, is_complete=False))

    chain.edit(first)
    assert find_sibling(chain.view, "LH1")[1].sealers == OLD
    chain.edit(lambda view: receive_sealers(view, None, deliver((5, NEW[0]), (5, NEW[1]), parts=2)))
    chain_id, sibling = find_sibling(chain.view, "LH1")
    assert chain_id == chain.lab.genesis.chain_id_of("LH1")
    assert (sibling.since_slot, sibling.sealers) == (5, NEW)


@pytest.mark.parametrize(
    "rows",
    [(), (5,), ((5,),), ((5, b"short"),), ((-1, NEW[0]),), ((5, NEW[0]), (5, NEW[0])), ((5, NEW[0]), (6, NEW[1]))],
)
def test_sets_that_cannot_be_are_refused(chain, rows):
    with pytest.raises(WrongShape):
        chain.edit(lambda view: receive_sealers(view, None, deliver(*rows)))


def test_a_set_older_than_the_known_one_is_refused(chain):
    chain.edit(lambda view: receive_sealers(view, None, deliver((5, NEW[0]))))
    with pytest.raises(WrongShape):
        chain.edit(lambda view: receive_sealers(view, None, deliver((4, NEW[1]), number=2)))


def test_who_is_wanted_is_who_is_in_force_unless_somebody_says_otherwise(chain):
    assert get_wanted_sealers(chain.view) == OLD
    chain.edit(lambda view: put_sealers(view, NEW))
    assert get_wanted_sealers(chain.view) == NEW
