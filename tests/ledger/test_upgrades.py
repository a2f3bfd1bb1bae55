"""The announcement of new rules: what the authority can say, in which order, and what an old act cannot bring back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.contract import Contracts
from ledger.execution import execute_body
from ledger.genesis import Authority, Genesis, GenesisMember, build_state
from ledger.membership import sign_act
from ledger.overlay import Overlay
from ledger.params import ChainParams
from ledger.signatures import SigningKey
from ledger.upgrades import NOTICE_BLOCKS, RuleSchedule, Upgrade, get_schedule, upgrade_handlers

CONTRACTS = Contracts(handlers=upgrade_handlers())
CHAIRS = tuple(SigningKey(name.ljust(32, b".")) for name in (b"chair", b"clerk"))


class Chain:
    """Blocks at any height, one after the other, each with one transaction by anna."""

    def __init__(self, make_lab, *, chairs=CHAIRS, rules=1):
        members = (
            GenesisMember(name="grid", role="grid-operator", key=make_lab().key("grid").public_key),
            GenesisMember(name="anna", role="prosumer", key=make_lab().key("anna").public_key, seals=True),
        )
        authority = Authority(threshold=max(1, len(chairs)), keys=tuple(chair.public_key for chair in chairs))
        self.genesis = Genesis(
            params=ChainParams(name="lab", rules=rules), time_ms=1_700_000_000_000, members=members, authority=authority
        )
        self.lab = make_lab(genesis=self.genesis)
        self.state = build_state(self.genesis)
        self.sent = 0

    @property
    def schedule(self):
        return get_schedule(Overlay(self.state), self.genesis.params)

    def announce(self, rules, height, *, at=1, chairs=CHAIRS, body=None, chain_id=None):
        """The code of the receipt, in a block at that height, and the events."""
        body = body or Upgrade(chain_id or self.genesis.chain_id, rules, height).to_value()
        payload = sign_act(self.genesis.network_id, body, chairs)
        transaction = self.lab.sign("anna", "upgrade", *payload, sequence=self.sent, expiry=at + 10)
        context = replace(self.lab.context(self.lab.chain.head), height=at)
        execution = execute_body(self.state, context, [transaction], CONTRACTS)
        self.state, self.sent = execution.state, self.sent + 1
        self.events = [event for event in execution.events if event[0] == "upgrade"]
        return execution.receipts[0].code


@pytest.fixture
def chain(make_lab):
    return Chain(make_lab)


def test_a_chain_begins_with_the_rules_of_its_genesis_and_no_row_for_them(make_lab):
    assert Chain(make_lab).schedule == RuleSchedule(1)
    assert Chain(make_lab, rules=7).schedule == RuleSchedule(7)
    assert Chain(make_lab).state.get(b"rules") is None


def test_new_rules_hold_from_the_height_that_was_announced(chain):
    assert chain.announce(2, 50) == ""
    assert chain.events == [("upgrade", 2, 50)]
    assert [chain.schedule.at(height) for height in (1, 49, 50, 51)] == [1, 1, 2, 2]
    assert [chain.schedule.coming_after(height) for height in (1, 49, 50)] == [2, 2, 0]


def test_versions_follow_each_other_one_by_one(chain):
    assert chain.announce(3, 50) == chain.announce(1, 50) == "UpgradeOutOfOrder"
    assert chain.announce(2, 50) == ""
    assert chain.announce(3, 90, at=49) == "UpgradeOutOfOrder", "2 does not hold yet"
    assert chain.announce(3, 90, at=50) == ""
    assert [chain.schedule.at(height) for height in (50, 89, 90)] == [2, 2, 3]
    assert chain.announce(2, 200, at=60) == "UpgradeOutOfOrder"


def test_everybody_has_time_to_notice(chain):
    assert chain.announce(2, 10 + NOTICE_BLOCKS - 1, at=10) == "UpgradeTooSoon"
    assert chain.announce(2, 10 + NOTICE_BLOCKS, at=10) == ""


def test_an_upgrade_can_be_put_off_and_an_old_act_brings_nothing_back(chain):
    assert chain.announce(2, 50) == ""
    assert chain.announce(2, 80, at=20) == ""
    assert chain.schedule == RuleSchedule(1, 2, 80)
    assert chain.announce(2, 50, at=21) == chain.announce(2, 80, at=21) == chain.announce(2, 79) == "UpgradeTooSoon"
    assert chain.announce(2, 80, at=80) == "UpgradeOutOfOrder"
    assert chain.schedule == RuleSchedule(1, 2, 80)


def test_only_the_authority_announces_and_each_chain_has_its_own(chain, make_lab):
    assert chain.announce(2, 50, chairs=CHAIRS[:1]) == "TooFewSignatures"
    assert chain.announce(2, 50, chairs=(*CHAIRS, SigningKey(b"m" * 32))) == "UnknownAuthority"
    assert chain.announce(2, 50, chain_id=bytes(32)) == "InvalidAct"
    assert Chain(make_lab, chairs=()).announce(2, 50, chairs=()) == "NoAuthority"
    assert chain.schedule == RuleSchedule(1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda body: ("renew", *body[1:]), "InvalidAct"),
        (lambda body: body[:-1], "WrongShape"),
        (lambda body: (body[0], b"", *body[2:]), "WrongShape"),
        (lambda body: (*body[:2], 0, body[3]), "WrongShape"),
        (lambda body: (*body[:2], 2**31, body[3]), "WrongShape"),
        (lambda body: (*body[:3], 2**53), "WrongShape"),
        (lambda body: (*body[:3], "50"), "WrongShape"),
    ],
)
def test_an_act_that_says_what_cannot_be_is_refused(chain, change, code):
    assert chain.announce(0, 0, body=change(Upgrade(chain.genesis.chain_id, 2, 50).to_value())) == code
    assert chain.schedule == RuleSchedule(1)


@given(acts=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 120), st.integers(1, 12)), max_size=12))
def test_whatever_is_announced_no_height_that_was_reached_changes_its_rules(make_lab, acts):
    chain, height, seen = Chain(make_lab), 1, {}
    for rules, target, step in acts:
        chain.announce(rules, target, at=height)
        for later in range(height, height + step):
            seen[later] = chain.schedule.at(later)
        height += step
    assert list(seen.values()) == sorted(seen.values())
    assert all(after - before <= 1 for before, after in zip(seen.values(), list(seen.values())[1:], strict=False))
