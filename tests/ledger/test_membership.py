"""Membership: what the authority's acts do, every way to misuse them, and what the authority cannot do at all."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.accounts import get_account, get_member, get_sealers, put_account
from ledger.contract import Contracts
from ledger.errors import CredentialExpired, CredentialTooEarly, MemberLeft, MemberRevoked, NotYetMember, UnknownMember
from ledger.execution import execute_body, ledger_handlers
from ledger.genesis import Authority, Genesis, GenesisMember, build_state
from ledger.membership import (
    ACTIVE,
    LEFT,
    MAX_AHEAD_MS,
    MAX_VALIDITY_MS,
    PENDING,
    REVOKED,
    Admission,
    Credential,
    find_by_name,
    find_by_tls_key,
    get_credential,
    is_active,
    is_gone,
    list_members,
    membership_handlers,
    membership_hooks,
    sign_act,
)
from ledger.overlay import Overlay
from ledger.params import ChainParams, ConsensusParams, LedgerParams
from ledger.sealers import get_wanted_sealers
from ledger.snapshot import get_snapshot
from tests.support.keys import key_of

CONTRACTS = Contracts(handlers={**ledger_handlers(), **membership_handlers()}, hooks=(), early_hooks=membership_hooks())
TIME_MS = 1_700_000_000_000
PERIOD_MS = 20_000
FOUNDERS = ("anna", "bert", "cleo", "dora")
SMALL_ORDER = (1).to_bytes(32, "little")
NON_CANONICAL = (2**255 - 18).to_bytes(32, "little")


CHAIRS = tuple(key_of(name) for name in ("chair-1", "chair-2", "chair-3"))


class Chain:
    """A chain whose contracts are transfers and membership; each act or transaction gets a block of its own."""

    def __init__(self, make_lab, *, threshold=2, chairs=CHAIRS, seals=FOUNDERS, consensus=None, ledger=None, time_ms=0):
        grid = GenesisMember(name="grid", role="grid-operator", key=key_of("grid").public_key)
        founders = [
            GenesisMember(
                name=name,
                role="prosumer",
                key=key_of(name).public_key,
                seals=name in seals,
                balance_uyuan=1_000,
                tls_key=key_of(f"{name}/tls").public_key,
            )
            for name in FOUNDERS
        ]
        params = ChainParams(
            name="lab",
            ledger=LedgerParams(**{"period_ms": PERIOD_MS, **(ledger or {})}),
            consensus=ConsensusParams(**{"engine": "pbft", **(consensus or {})}),
        )
        keys = tuple(chair.public_key for chair in chairs)
        self.genesis = Genesis(
            params=params,
            time_ms=TIME_MS + time_ms,
            members=(grid, *founders),
            authority=Authority(threshold=threshold, keys=keys),
        )
        self.lab = make_lab(genesis=self.genesis, contracts=CONTRACTS)
        self.state = build_state(self.genesis)
        self.parent = self.lab.chain.head
        self.sent = Counter()
        self.now_ms = self.genesis.time_ms
        self.period = 0

    @property
    def view(self):
        return Overlay(self.state)

    def block(self, *transactions, step_ms=1):
        self.now_ms += step_ms
        context = self.lab.context(self.parent, timestamp_ms=self.now_ms)
        period = (self.now_ms - self.genesis.time_ms) // PERIOD_MS
        context = type(context)(
            **{
                **{name: getattr(context, name) for name in context.__slots__},
                "period": period,
                "is_first_of_period": period > self.period,
            }
        )
        execution = execute_body(self.state, context, transactions, CONTRACTS)
        self.state, self.period = execution.state, period
        return execution

    def next_period(self):
        return self.block(step_ms=PERIOD_MS)

    def send(self, sender, kind, *payload):
        """The code of the receipt, empty where the transaction took effect."""
        transaction = self.lab.sign(sender, kind, *payload, sequence=self.sent[sender])
        (receipt,) = self.block(transaction).receipts
        self.sent[sender] += 1
        return receipt.code

    def act(self, *body, chairs=CHAIRS[:2], network=None, kind=None):
        payload = sign_act(network or self.genesis.network_id, body, chairs)
        return self.send("bert", kind or body[0], *payload)

    def admission(self, name="emil", *, serial=100, **fields):
        usual = {
            "serial": serial,
            "name": name,
            "role": "prosumer",
            "key": key_of(name).public_key,
            "tls_key": key_of(f"{name}/tls").public_key,
            "capacity_wh": 5_000,
            "position": "feeder-2",
            "owner": b"",
            "seals": ("lab",),
            "not_before_ms": self.now_ms,
            "not_after_ms": self.now_ms + MAX_VALIDITY_MS,
        }
        return Admission(**{**usual, **fields})

    def admit(self, name="emil", **fields):
        return self.act(*self.admission(name, **fields).to_value())

    def credential(self, name):
        return get_credential(self.view, key_of(name).address)

    def seals(self, name):
        return key_of(name).public_key in get_snapshot(self.state).members


@pytest.fixture
def chain(make_lab):
    return Chain(make_lab)


# --- the life of a membership ----------------------------------------------------------------------


def test_an_admitted_member_is_one_from_the_next_period_on(chain):
    emil = key_of("emil")
    assert chain.admit() == ""
    assert chain.credential("emil").status == PENDING
    assert get_member(chain.view, emil.address) is None
    assert not is_active(chain.view, emil.address, chain.now_ms)
    with pytest.raises(NotYetMember):
        chain.send("emil", "transfer", key_of("anna").address, 1)
    assert not chain.seals("emil")
    events = chain.next_period().events
    assert ("member", emil.address, "emil", "prosumer") in events
    assert is_active(chain.view, emil.address, chain.now_ms)
    assert get_member(chain.view, emil.address)[:5] == ("emil", "prosumer", emil.public_key, 5_000, "feeder-2")
    assert get_account(chain.view, emil.address).credit_upt == 90_000_000
    assert emil.public_key in get_sealers(chain.view)
    assert chain.seals("emil")
    assert chain.send("anna", "transfer", emil.address, 10) == ""
    assert chain.send("emil", "transfer", key_of("anna").address, 10) == ""


def test_a_member_is_found_by_name_and_tls_key(chain):
    chain.admit()
    chain.next_period()
    assert find_by_name(chain.view, "emil") == find_by_tls_key(chain.state, key_of("emil/tls").public_key)
    assert find_by_name(chain.view, "nobody") is None
    assert [item.member.name for item in list_members(chain.state)] == ["anna", "bert", "cleo", "dora", "emil", "grid"]


def test_a_revoked_members_transactions_count_no_more_and_its_seal_and_vote_end_at_the_boundary(chain):
    anna = key_of("anna")
    assert chain.act("revoke", chain.genesis.serial_of("anna"), "meter manipulated") == ""
    assert chain.credential("anna").status == REVOKED
    assert is_gone(chain.view, anna.address)
    with pytest.raises(MemberRevoked):
        chain.send("anna", "transfer", key_of("bert").address, 1)
    assert anna.public_key in get_sealers(chain.view)
    assert chain.seals("anna")
    chain.next_period()
    assert anna.public_key not in get_sealers(chain.view)
    assert not chain.seals("anna")
    assert get_member(chain.view, anna.address).name == "anna", "what it has agreed is still settled"
    assert chain.send("bert", "transfer", anna.address, 1) == "", "and paid for"


def test_a_member_leaves_once(chain):
    assert chain.send("anna", "exit") == ""
    assert chain.credential("anna").status == LEFT
    with pytest.raises(MemberLeft):
        chain.send("anna", "exit")
    assert chain.act("revoke", chain.genesis.serial_of("anna"), "") == "MemberLeft"
    chain.next_period()
    assert not chain.seals("anna")


def test_a_renewal_replaces_key_validity_and_serial_at_once(chain):
    new = key_of("anna/tls-2").public_key
    end_ms = chain.now_ms + 1_000
    old = chain.genesis.serial_of("anna")
    assert chain.act("renew", old, 7, new, chain.now_ms, end_ms) == ""
    assert chain.credential("anna") == Credential(7, new, end_ms - 1_000, end_ms, ACTIVE)
    assert find_by_tls_key(chain.state, new) == key_of("anna").address
    assert find_by_tls_key(chain.state, key_of("anna/tls").public_key) is None
    assert chain.act("renew", old, 8, new, chain.now_ms, end_ms) == "SupersededSerial"
    assert chain.act("revoke", old, "") == "SupersededSerial"
    assert chain.admit(tls_key=key_of("anna/tls").public_key) == "TlsKeyTaken", "it stays anna's"


def test_an_expired_credential_sends_nothing_but_a_renewal_and_seals_on(chain):
    chain.act("renew", chain.genesis.serial_of("anna"), 7, b"", chain.now_ms, chain.now_ms + 10)
    chain.block(step_ms=10)
    assert not is_active(chain.view, key_of("anna").address, chain.now_ms)
    with pytest.raises(CredentialExpired):
        chain.send("anna", "transfer", key_of("bert").address, 1)
    chain.next_period()
    assert chain.seals("anna"), "an authority that is away stops nobody"
    body = ("renew", 7, 8, b"", chain.now_ms, chain.now_ms + 1_000)
    assert chain.send("anna", "renew", *sign_act(chain.genesis.network_id, body, CHAIRS[:2])) == ""
    assert chain.send("anna", "transfer", key_of("bert").address, 1) == ""


def test_a_credential_that_has_not_begun_sends_nothing(chain):
    assert chain.admit(not_before_ms=chain.now_ms + 2 * PERIOD_MS) == ""
    chain.next_period()
    with pytest.raises(CredentialTooEarly):
        chain.send("emil", "exit")


def test_who_comes_back_under_its_key_keeps_its_credit_and_under_another_starts_anew(chain):
    anna = key_of("anna").address
    overlay = Overlay(chain.state)
    put_account(overlay, anna, get_account(overlay, anna)._replace(credit_upt=12_000_000))
    overlay.commit()
    chain.state = overlay.finish()[0]
    chain.send("anna", "exit")
    chain.next_period()
    assert chain.admit("anna", tls_key=b"") == ""
    with pytest.raises(NotYetMember):
        chain.send("anna", "exit")
    chain.next_period()
    assert chain.send("anna", "transfer", key_of("bert").address, 1) == ""
    assert get_account(chain.view, anna).credit_upt == 12_000_000
    assert chain.seals("anna")
    assert chain.admit("anna-2", serial=101) == ""
    chain.next_period()
    assert get_account(chain.view, key_of("anna-2").address).credit_upt == 90_000_000


def test_one_revoked_before_it_became_a_member_never_is(chain):
    chain.admit()
    assert chain.act("revoke", 100, "a mistake") == ""
    chain.next_period()
    assert get_member(chain.view, key_of("emil").address) is None
    assert not chain.seals("emil")
    assert "emil" not in [item.member.name for item in list_members(chain.state)]
    assert chain.admit(serial=101) == ""
    chain.next_period()
    assert chain.seals("emil")


def test_a_device_comes_with_its_owner(chain):
    assert chain.admit("meter", role="device", seals=(), owner=key_of("anna").address) == ""
    assert chain.admit("emil", serial=101) == ""
    assert chain.admit("meter-2", serial=102, role="device", seals=(), owner=key_of("emil").address) == ""
    chain.next_period()
    assert get_member(chain.view, key_of("meter").address).owner == key_of("anna").address
    assert get_member(chain.view, key_of("meter-2").address).owner == key_of("emil").address


def test_an_act_is_good_on_every_chain_of_the_network_and_on_each_once(make_lab):
    one, other = Chain(make_lab), Chain(make_lab)
    body = one.admission().to_value()
    assert [one.act(*body), other.act(*body)] == ["", ""]
    one.next_period()
    assert [one.act(*body), other.act(*body)] == ["SerialTaken", "SerialTaken"]


# --- misuse ----------------------------------------------------------------------------------------


def test_the_authority_must_have_signed(chain):
    body = chain.admission().to_value()
    assert chain.act(*body, chairs=CHAIRS[:1]) == "TooFewSignatures"
    assert chain.act(*body, chairs=()) == "TooFewSignatures"
    assert chain.act(*body, chairs=(CHAIRS[0], CHAIRS[0])) == "DuplicateSigner"
    assert chain.act(*body, chairs=(CHAIRS[0], key_of("anna"))) == "UnknownAuthority"
    assert chain.act(*body, chairs=CHAIRS, network=b"\x01" * 32) == "InvalidSignature"
    assert chain.act(*body, kind="revoke") == "WrongShape"
    _, signatures = sign_act(chain.genesis.network_id, body, CHAIRS[:2])
    assert chain.send("bert", "admit", body, signatures[::-1]) == "NonCanonical"
    assert chain.send("bert", "admit", (*body[:6], 6_000, *body[7:]), signatures) == "InvalidSignature"
    assert chain.send("bert", "admit", body) == "WrongShape"
    assert chain.send("bert", "admit", body, (b"x",)) == "WrongShape"
    assert chain.send("bert", "admit", body, signatures * 33) == "TooLarge"
    assert chain.act(*body, chairs=CHAIRS) == "", "more than the threshold will do"


def test_a_network_without_an_authority_admits_nobody(make_lab):
    chain = Chain(make_lab, chairs=(), threshold=1)
    assert chain.admit() == "NoAuthority"
    assert chain.send("anna", "exit") == "", "but whoever wants may leave"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"serial": 0}, "WrongShape"),
        ({"serial": 2}, "SerialTaken"),
        ({"name": "anna"}, "NameTaken"),
        ({"name": ""}, "InvalidAct"),
        ({"name": "a b"}, "InvalidAct"),
        ({"name": "a" * 33}, "InvalidAct"),
        ({"key": key_of("anna").public_key}, "KeyTaken"),
        ({"key": CHAIRS[0].public_key}, "KeyTaken"),
        ({"tls_key": CHAIRS[2].public_key}, "KeyTaken"),
        ({"key": SMALL_ORDER}, "InvalidKey"),
        ({"key": NON_CANONICAL}, "InvalidKey"),
        ({"key": b"short"}, "WrongShape"),
        ({"tls_key": SMALL_ORDER}, "InvalidKey"),
        ({"tls_key": NON_CANONICAL}, "InvalidKey"),
        ({"tls_key": b"short"}, "WrongShape"),
        ({"tls_key": key_of("anna/tls").public_key}, "TlsKeyTaken"),
        ({"role": "king"}, "RoleNotAdmitted"),
        ({"role": "authority", "seals": ()}, "RoleNotAdmitted"),
        ({"role": "grid-operator"}, "RoleNotAdmitted"),
        ({"role": "observer"}, "RoleMayNotSeal"),
        ({"role": "device", "seals": ()}, "OwnerNeeded"),
        ({"role": "device", "seals": (), "owner": b"x" * 20}, "OwnerNeeded"),
        ({"role": "device", "seals": (), "owner": key_of("emil").address}, "OwnerNeeded"),
        ({"role": "device", "owner": key_of("anna").address}, "RoleMayNotSeal"),
        ({"owner": key_of("anna").address}, "OwnerNotAllowed"),
        ({"owner": b"x" * 21}, "TooLarge"),
        ({"seals": ("JY9",)}, "UnknownChainNamed"),
        ({"seals": ("lab", "lab")}, "InvalidAct"),
        ({"seals": "lab"}, "WrongShape"),
        ({"position": "p" * 33}, "TooLarge"),
        ({"capacity_wh": -1}, "WrongShape"),
        ({"not_before_ms": 0, "not_after_ms": TIME_MS + 99}, "InvalidValidity"),
        ({"not_before_ms": TIME_MS - 2, "not_after_ms": TIME_MS - 1}, "ValidityOver"),
        ({"not_before_ms": TIME_MS + 1, "not_after_ms": TIME_MS + 1}, "InvalidValidity"),
        ({"not_after_ms": TIME_MS + MAX_VALIDITY_MS + 1}, "InvalidValidity"),
        (
            {"not_before_ms": TIME_MS + MAX_AHEAD_MS + 10, "not_after_ms": TIME_MS + MAX_AHEAD_MS + 11},
            "InvalidValidity",
        ),
    ],
)
def test_an_admission_that_asks_too_much_is_refused_and_changes_nothing(chain, fields, code):
    before = list_members(chain.state)
    assert chain.act(*chain.admission()._replace(**fields).to_value()) == code
    chain.next_period()
    assert list_members(chain.state) == before


def test_a_key_that_comes_back_keeps_its_name(chain):
    chain.send("anna", "exit")
    assert chain.admit("nina", key=key_of("anna").public_key) == "NameChanged"
    assert chain.admit("anna", key=key_of("nina").public_key, serial=101) == "NameTaken"


def test_acts_on_nobody_and_on_those_who_are_gone_are_refused(chain):
    assert chain.act("revoke", 99, "") == "UnknownSerial"
    assert chain.act("renew", 99, 100, b"", chain.now_ms, chain.now_ms + 5) == "UnknownSerial"
    assert chain.act("revoke", 2, "x" * 257) == "TooLarge"
    assert chain.act("revoke", 2, "") == ""
    assert chain.act("revoke", 2, "") == "MemberRevoked"
    assert chain.act("renew", 2, 100, b"", chain.now_ms, chain.now_ms + 5) == "MemberRevoked"
    assert chain.act("renew", 3, 4, b"", chain.now_ms, chain.now_ms + 5) == "SerialTaken"
    assert chain.act("renew", 3, 100, SMALL_ORDER, chain.now_ms, chain.now_ms + 5) == "InvalidKey"
    assert chain.act("renew", 3, 100, key_of("dora/tls").public_key, chain.now_ms, chain.now_ms + 5) == "TlsKeyTaken"
    assert chain.act("renew", 3, 100, b"", chain.now_ms - 5, chain.now_ms) == "ValidityOver"


def test_the_last_who_can_certify_stay(make_lab):
    chain = Chain(make_lab, consensus={"checkpoint_m": 2})
    assert chain.send("anna", "exit") == ""
    assert chain.send("cleo", "exit") == "TooFewSealers"
    assert chain.act("revoke", chain.genesis.serial_of("dora"), "") == "TooFewSealers"
    assert chain.admit() == ""
    assert chain.send("cleo", "exit") == ""


def test_no_more_are_admitted_to_seal_than_a_certificate_has_room_for(make_lab):
    chain = Chain(make_lab, ledger={"max_transaction_bytes": 1_024})
    assert chain.genesis.max_sealers == 5
    assert chain.admit() == ""
    assert chain.admit("fred", serial=101) == "TooManySealers"
    assert chain.admit("fred", serial=101, seals=()) == ""


# --- what the weak centre cannot do ----------------------------------------------------------------


def test_the_authority_moves_no_money(chain):
    """Its key has no account and sends nothing; and no act of its speaks of money."""
    chair = CHAIRS[0]
    for kind in ("transfer", "admit", "exit"):
        with pytest.raises(UnknownMember):
            chain.send("chair-1", kind, key_of("anna").address, 1)
    assert chain.act("transfer", key_of("anna").address, key_of("bert").address, 5) == "WrongShape"
    assert get_account(chain.view, chair.address).balance_uyuan == 0


def test_the_authority_edits_no_record(chain):
    """A member's capacity, role and credit are what they were, whatever it signs while the member stays."""
    before = list_members(chain.state)
    accounts = [get_account(chain.view, item.address)._replace(sequence=0) for item in before]
    assert chain.admit("anna", capacity_wh=10**9) == "KeyTaken"
    assert chain.admit("anna", key=key_of("mine").public_key) == "NameTaken"
    assert chain.act("edit", key_of("anna").address, 5) == "UnknownKind"
    chain.next_period()
    assert list_members(chain.state) == before
    assert [get_account(chain.view, item.address)._replace(sequence=0) for item in before] == accounts


def test_the_authority_gives_itself_no_seal_and_no_vote(chain):
    for chair in CHAIRS:
        assert chain.admit("boss", key=chair.public_key) == "KeyTaken"
    chain.next_period()
    keys = {chair.public_key for chair in CHAIRS}
    assert not keys & {*get_sealers(chain.view), *get_wanted_sealers(chain.view), *get_snapshot(chain.state).members}


# --- sequences of acts -----------------------------------------------------------------------------

NAMES = ("anna", "bert", "emil", "fred")
ACTS = st.lists(
    st.tuples(st.sampled_from(("admit", "revoke", "renew", "exit", "boundary")), st.sampled_from(NAMES)), max_size=25
)


@settings(max_examples=60)
@given(ACTS)
def test_after_any_acts_members_sealers_and_transactions_agree(make_lab, acts):
    """A model of four names: in, waiting or out; the chain says the same, and dora, cleo and grid stay throughout."""
    chain = Chain(make_lab)
    status = {"anna": ACTIVE, "bert": ACTIVE, "emil": None, "fred": None}
    serials = {name: chain.genesis.serial_of(name) for name in ("anna", "bert")}
    for number, (kind, name) in enumerate(acts, start=100):
        now = status[name]
        if kind == "boundary":
            chain.next_period()
            status = {who: ACTIVE if was == PENDING else was for who, was in status.items()}
            sealing = {who for who in NAMES if chain.seals(who)}
            assert sealing == {who for who in NAMES if status[who] == ACTIVE}
        elif kind == "exit":
            if now == ACTIVE:
                assert chain.send(name, "exit") == ""
                status[name] = LEFT
            else:
                with pytest.raises((UnknownMember, NotYetMember, MemberLeft, MemberRevoked)):
                    chain.send(name, "exit")
        else:
            body = {
                "admit": chain.admission(name, serial=number).to_value(),
                "revoke": ("revoke", serials.get(name, 99), "why not"),
                "renew": ("renew", serials.get(name, 99), number, b"", chain.now_ms, chain.now_ms + MAX_VALIDITY_MS),
            }[kind]
            is_in = now in (ACTIVE, PENDING)
            code = chain.send("dora", kind, *sign_act(chain.genesis.network_id, body, CHAIRS[:2]))
            assert (code == "") == (is_in != (kind == "admit")), (kind, now, code)
            if not code:
                status[name] = {"admit": PENDING, "revoke": REVOKED, "renew": now}[kind]
                serials[name] = serials.get(name, 99) if kind == "revoke" else number
        for who in NAMES:
            assert (chain.credential(who).status if chain.credential(who) else None) == status[who]
