"""Genesis: a chain id over the whole document, the founding state, and every document that is refused."""

import hashlib

import msgpack
import pytest
from pydantic import ValidationError

from ledger.accounts import Account, Member, get_account, get_member, get_sealers
from ledger.block import NO_PARENT, NO_SIGNATURE
from ledger.genesis import Genesis, GenesisMember, build_genesis_block, build_state, get_grid_operator
from ledger.merkle import EMPTY_ROOT
from ledger.overlay import Overlay
from ledger.params import ChainParams, ConsensusParams, LedgerParams, MarketParams
from ledger.signatures import SigningKey
from ledger.snapshot import Standing, get_snapshot

TIME_MS = 1_700_000_000_000


def key(name):
    return SigningKey(name.encode().ljust(32, b".")).public_key


def member(name, role="prosumer", **fields):
    return GenesisMember(**{"name": name, "role": role, "key": key(name), **fields})


GRID = member("grid", "grid-operator")
ANNA = member("anna", seals=True, balance_uyuan=500, capacity_wh=7_000, position="feeder-1")
METER = member("meter", "device", owner="anna")


def make(*members, consensus=None, ledger=None, market=None, time_ms=TIME_MS):
    params = ChainParams(
        name="JY1",
        consensus=ConsensusParams(**(consensus or {})),
        ledger=LedgerParams(**(ledger or {})),
        market=MarketParams(**(market or {})),
    )
    return Genesis(params=params, time_ms=time_ms, members=members or (GRID, ANNA, METER))


# --- the chain id ----------------------------------------------------------------------------------


def test_the_chain_id_is_the_tagged_hash_of_the_whole_document():
    genesis = make()
    tag = hashlib.sha256(b"gridmerit/genesis").digest()
    document = msgpack.packb(
        [
            list(genesis.params.to_value()),
            TIME_MS,
            [
                ["grid", "grid-operator", key("grid"), 0, 0, 0, "", ""],
                ["anna", "prosumer", key("anna"), 1, 500, 7_000, "feeder-1", ""],
                ["meter", "device", key("meter"), 0, 0, 0, "", "anna"],
            ],
        ],
        use_bin_type=True,
    )
    assert genesis.chain_id == hashlib.sha256(tag + tag + document).digest()


def test_two_documents_that_differ_anywhere_are_two_chains():
    others = [
        make(time_ms=TIME_MS + 1),
        make(consensus={"relief_after": 13}),
        make(GRID, METER, ANNA),
        make(GRID, ANNA),
        *(
            make(GRID, ANNA.model_copy(update=change), METER)
            for change in (
                {"key": key("bert")},
                {"balance_uyuan": 501},
                {"capacity_wh": 7_001},
                {"position": "feeder-2"},
                {"role": "producer"},
            )
        ),
        make(GRID.model_copy(update={"seals": True}), ANNA, METER),
    ]
    assert len({genesis.chain_id for genesis in (make(), *others)}) == len(others) + 1


def test_json_leads_to_the_same_chain():
    genesis = make(consensus={"n_diff_initial": 2**150})
    again = Genesis.model_validate_json(genesis.model_dump_json())
    assert again == genesis
    assert again.chain_id == genesis.chain_id


# --- the founding state ----------------------------------------------------------------------------


def test_the_state_holds_members_accounts_sealers_and_the_first_snapshot():
    genesis = make(GRID.model_copy(update={"seals": True}), ANNA, METER, market={"initial_credit_upt": 80_000_000})
    state = build_state(genesis)
    view = Overlay(state)
    anna, grid, meter = (SigningKey(name.encode().ljust(32, b".")) for name in ("anna", "grid", "meter"))
    assert get_account(view, anna.address) == Account(balance_uyuan=500, credit_upt=80_000_000)
    assert get_member(view, anna.address) == Member("anna", "prosumer", anna.public_key, 7_000, "feeder-1")
    assert get_member(view, meter.address) == Member("meter", "device", meter.public_key, 0, "", anna.address)
    assert get_member(view, b"x" * 20) is None
    assert get_grid_operator(view) == grid.address
    assert get_sealers(view) == tuple(sorted([anna.public_key, grid.public_key]))
    snapshot = get_snapshot(state)
    assert snapshot.height == 0
    assert snapshot.members == snapshot.previous
    assert snapshot.members == {
        anna.public_key: Standing(credit_upt=80_000_000, balance_uyuan=500),
        grid.public_key: Standing(credit_upt=80_000_000, balance_uyuan=0),
    }


def test_the_order_of_members_does_not_reach_the_state():
    assert build_state(make(GRID, ANNA, METER)).root == build_state(make(METER, ANNA, GRID)).root


def test_the_genesis_block_follows_from_the_document():
    genesis = make()
    state = build_state(genesis)
    block = build_genesis_block(genesis, state)
    header = block.header
    assert (header.height, header.parent, header.period, header.timestamp_ms) == (0, NO_PARENT, 0, TIME_MS)
    assert (header.chain_id, header.state_root) == (genesis.chain_id, state.root)
    assert header.tx_root == header.receipt_root == EMPTY_ROOT
    assert (header.nonce, header.signature, block.transactions) == (0, NO_SIGNATURE, ())
    assert header.n_diff == genesis.params.consensus.n_diff_initial
    assert build_genesis_block(make(), build_state(make())).hash == block.hash


# --- documents that are refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((GRID, ANNA, member("anna", key=key("bert"))), "two members share a name or a key"),
        ((GRID, ANNA, member("bert", key=key("anna"))), "two members share a name or a key"),
        ((ANNA,), "exactly one member must have the role grid-operator"),
        ((GRID, ANNA, member("grid2", "grid-operator")), "exactly one member must have the role grid-operator"),
        ((GRID, member("bert")), "no member has the sealing right"),
        ((GRID, ANNA, member("bert", key=b"short")), "the key of bert is not 32 bytes"),
        ((GRID, ANNA, member("meter", "device")), "meter: a device, and only a device, names the member that owns it"),
        ((GRID, ANNA, member("bert", owner="anna")), "bert: a device, and only a device, names the member"),
        ((GRID, ANNA, member("bert", owner="nobody")), "bert: a device, and only a device, names the member"),
        ((GRID, ANNA, member("meter", "device", owner="nobody")), "meter: its owner nobody is not a member"),
        (
            (GRID, ANNA, member("meter", "device", owner="meter")),
            "meter: a device, and only a device, names the member",
        ),
        (
            (GRID, ANNA, METER, member("m2", "device", owner="meter")),
            "m2: a device, and only a device, names the member",
        ),
        ((GRID, ANNA, member("bert", balance_uyuan=2**62 - 500)), r"the balances sum to 2\*\*62 µ¥ or more"),
    ],
)
def test_founders_that_cannot_found_a_chain_are_refused(members, message):
    with pytest.raises(ValidationError, match=message):
        make(*members)


def test_a_quorum_must_be_within_reach():
    bert = member("bert", seals=True)
    make(GRID, ANNA, bert, consensus={"checkpoint_m": 1})
    with pytest.raises(ValidationError, match="more than checkpoint_m members must sign, but only 2"):
        make(GRID, ANNA, bert, consensus={"checkpoint_m": 2})


def test_a_certificate_must_fit_into_a_transaction():
    sealers = [member(f"n{number}", seals=True) for number in range(6)]
    make(GRID, *sealers[:5], ledger={"max_transaction_bytes": 1_024})
    with pytest.raises(ValidationError, match="6 members seal, max_transaction_bytes has room for the signatures of 5"):
        make(GRID, *sealers, ledger={"max_transaction_bytes": 1_024})


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a" * 33},
        {"role": "king"},
        {"balance_uyuan": -1},
        {"capacity_wh": -1},
        {"capacity_wh": 1.5},
        {"position": "p" * 33},
        {"key": "0xzz"},
        {"sealing": True},
    ],
)
def test_a_member_with_a_bad_field_is_refused(fields):
    with pytest.raises(ValidationError):
        GenesisMember(**{"name": "bert", "role": "prosumer", "key": key("bert"), **fields})


def test_a_genesis_needs_members_and_knows_no_other_keys():
    with pytest.raises(ValidationError):
        Genesis(params=ChainParams(name="JY1"), time_ms=0, members=())
    with pytest.raises(ValidationError, match="Extra inputs"):
        Genesis(params=ChainParams(name="JY1"), time_ms=0, members=(GRID, ANNA), note="")
