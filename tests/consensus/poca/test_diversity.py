"""Per-producer diversity: of the last few blocks one member seals its share, unless nobody else seals at all."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from consensus.errors import OverDiversityLimit
from ledger.params import ConsensusParams

DIVERSE = {"diversity_window": 4, "diversity_limit": 2}
WAIT_MS = 12_000  # relief_after intervals of a second


def seal_with(sealed, *names):
    """Blocks on the head, one by each name, an interval apart."""
    for name in names:
        sealed.extend(name)
    return sealed.chain.head


def header_of(sealed, parent, name, at):
    """The header that the member would seal at that time if it ignored the rule, everything else in order."""
    other = next(each for each in ("anna", "bert", "cleo", "dora") if sealed.propose(parent, each, at) is not None)
    header = replace(sealed.build(parent, other, at=at).header, producer=sealed.key(name).public_key)
    return sealed.seal(header, name)


def test_a_member_with_its_share_leaves_the_next_block_to_the_others(make_chain):
    # genesis ── a1 ── b2 ── a3     anna has two of the last three, so that a4 would be the third of four
    sealed = make_chain(consensus=DIVERSE)
    a3 = seal_with(sealed, "anna", "bert", "anna")
    assert sealed.propose(a3, "anna", 4_000) is None
    with pytest.raises(OverDiversityLimit) as caught:
        sealed.check(header_of(sealed, a3, "anna", 4_000), a3)
    assert caught.value.values["not_before"] == a3.header.timestamp_ms + WAIT_MS
    b4 = sealed.extend("bert")
    assert sealed.propose(b4, "bert", 5_000) is None
    assert sealed.extend("anna").height == 5  # the window has moved on: a3 alone is hers


def test_it_looks_at_the_blocks_own_branch(make_chain):
    # genesis ── a1 ── a2
    #         └─ b1 ── b2     on this one anna has nothing
    sealed = make_chain(consensus=DIVERSE)
    a2 = sealed.add(sealed.add(sealed.root, "anna"), "anna")
    b2 = sealed.add(sealed.add(sealed.root, "bert"), "bert")
    assert sealed.propose(a2, "anna", 3_000) is None
    assert sealed.add(b2, "anna").height == 3


def test_the_last_one_left_goes_on_after_the_wait_and_finds_it_no_easier(make_chain):
    sealed = make_chain(consensus=DIVERSE)
    a2 = seal_with(sealed, "anna", "anna")
    assert sealed.propose(a2, "anna", 2_000 + WAIT_MS - 1) is None
    proposal = sealed.propose(a2, "anna", 2_000 + WAIT_MS)
    assert proposal.n_diff == sealed.propose(a2, "bert", 3_000).n_diff, "the wait counts neither as delay …"
    head = a2
    for _ in range(20):
        head = sealed.extend("anna", at=head.header.timestamp_ms - sealed.lab.genesis.time_ms + WAIT_MS + 1_000)
    assert head.base_n_diff == a2.base_n_diff, "… nor as solve time: blocks at the interval change nothing"


def test_relief_comes_to_the_last_one_too(make_chain):
    sealed = make_chain(consensus=DIVERSE)
    a2 = seal_with(sealed, "anna", "anna")
    usual = sealed.propose(a2, "anna", 2_000 + WAIT_MS).n_diff
    assert sealed.propose(a2, "anna", 2_000 + 2 * WAIT_MS + 3_000).n_diff == usual << 3
    assert sealed.propose(a2, "bert", 2_000 + WAIT_MS + 3_000).n_diff == usual << 3
    sealed.extend("anna", at=2_000 + 2 * WAIT_MS + 3_000)


def test_two_keys_get_round_what_holds_one(make_chain):
    sealed = make_chain(consensus=DIVERSE)
    assert seal_with(sealed, *["anna", "bert"] * 6).height == 12


def test_without_it_one_member_may_seal_them_all(sealed):
    assert sealed.params.diversity_window == 0
    assert seal_with(sealed, *["anna"] * 10).height == 10


@pytest.mark.parametrize("limit", [4, 5])
def test_a_limit_that_limits_nothing_is_refused(limit):
    with pytest.raises(ValidationError, match="diversity_limit"):
        ConsensusParams(diversity_window=4, diversity_limit=limit)
