"""Genesis: a chain id over the whole document, the founding state, and every document that is refused."""

import hashlib

import msgpack
import pytest
from pydantic import ValidationError

from ledger.accounts import MAX_SEALERS, Account, Member, get_account, get_member, get_sealers
from ledger.block import NO_PARENT, NO_SIGNATURE
from ledger.genesis import Authority, Genesis, GenesisMember, build_genesis_block, build_state, get_grid_operator
from ledger.membership import (
    ACTIVE,
    UNLIMITED_MS,
    Credential,
    find_by_tls_key,
    get_authority,
    get_credential,
    list_members,
)
from ledger.merkle import EMPTY_ROOT
from ledger.overlay import Overlay
from ledger.params import Area, ChainParams, ConsensusParams, LedgerParams, Line, MarketParams, SchedulingParams
from ledger.siblings import Sibling, get_sibling
from ledger.snapshot import SealerSnapshot, get_snapshot
from tests.support.keys import key_of

TIME_MS = 1_700_000_000_000


def key(name):
    return key_of(name).public_key


def member(name, role="prosumer", **fields):
    return GenesisMember(**{"name": name, "role": role, "key": key(name), **fields})


GRID = member("grid", "grid-operator")
ANNA = member("anna", seals=True, balance_uyuan=500, capacity_wh=7_000, position="feeder-1")
METER = member("meter", "device", owner="anna")


AREAS = (Area(name="town", wheeling_uyuan_per_kwh=20_000),)
LINES = (Line(name="feeder", area="town", capacity_wh=9_000),)


def scheduling_chain(name="DU1", ledger=None, market=None, consensus=None, **fields):
    return ChainParams(
        name=name,
        kind="scheduling",
        ledger=LedgerParams(**(ledger or {})),
        consensus=ConsensusParams(**(consensus or {})),
        market=MarketParams(**(market or {})),
        scheduling=SchedulingParams(**{"areas": AREAS, "lines": LINES, **fields}),
    )


DU1, LH1 = scheduling_chain(), ChainParams(name="LH1", kind="credit")


TWICE = {
    "open_ppm": 5_000_000,
    "gate_ppm": 4_000_000,
    "intraday_open_ppm": 3_000_000,
    "intraday_gate_ppm": 2_000_000,
}


def traded_twice(market=TWICE, **clock):
    """The siblings of a market with an intraday session, and that market."""
    clock = {"quota_ppm": 5_500_000, "intraday_quota_ppm": 3_500_000, "verdict_ppm": 1_500_000, **clock}
    return {"siblings": (scheduling_chain(market=market, **clock),), "market": TWICE}


AUTHORITY = Authority(keys=(key("chair"), key("clerk")))


def make(*members, consensus=None, ledger=None, market=None, time_ms=TIME_MS, siblings=(), authority=None):
    params = ChainParams(
        name="JY1",
        consensus=ConsensusParams(**(consensus or {})),
        ledger=LedgerParams(**(ledger or {})),
        market=MarketParams(**(market or {})),
    )
    return Genesis(
        params=params,
        time_ms=time_ms,
        members=members or (GRID, ANNA, METER),
        siblings=siblings,
        authority=authority or Authority(),
    )


# --- the chain id ----------------------------------------------------------------------------------


def test_the_chain_id_is_the_tagged_hash_of_the_whole_document():
    genesis = make()
    tag = hashlib.sha256(b"gridmerit/genesis").digest()
    document = msgpack.packb(
        [
            TIME_MS,
            [list(genesis.params.to_value())],
            [
                ["grid", "grid-operator", key("grid"), [], 0, 0, "", "", b"", 0, 0],
                ["anna", "prosumer", key("anna"), ["*"], 500, 7_000, "feeder-1", "", b"", 0, 0],
                ["meter", "device", key("meter"), [], 0, 0, "", "anna", b"", 0, 0],
            ],
            [1, []],
            "JY1",
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
                {"tls_key": key("tls")},
            )
        ),
        make(GRID.model_copy(update={"seals": ("*",)}), ANNA, METER),
        make(authority=AUTHORITY),
        make(authority=Authority(keys=(key("chair"), key("clerk")), threshold=2)),
    ]
    assert len({genesis.chain_id for genesis in (make(), *others)}) == len(others) + 1


def test_json_leads_to_the_same_chain():
    genesis = make(consensus={"n_diff_initial": 2**150})
    again = Genesis.model_validate_json(genesis.model_dump_json())
    assert again == genesis
    assert again.chain_id == genesis.chain_id


# --- several chains from one document --------------------------------------------------------------


def ids(genesis):
    return {chain.name: genesis.chain_id_of(chain.name) for chain in genesis.chains}


def test_the_chains_of_a_network_differ_in_id_and_know_each_others():
    network = make(siblings=(LH1, DU1))
    assert [chain.name for chain in network.chains] == ["DU1", "JY1", "LH1"]
    assert len(set(ids(network).values())) == 3
    assert network.chain_id == ids(network)["JY1"]


def test_every_chain_opens_from_the_document_of_any_other():
    network = make(siblings=(LH1, DU1))
    for name in ("DU1", "JY1", "LH1"):
        opened = network.open(name)
        assert (opened.params.name, opened.chain_id) == (name, ids(network)[name])
        assert ids(opened) == ids(network)
        assert (opened.members, opened.time_ms) == (network.members, network.time_ms)
        for back in ("DU1", "JY1", "LH1"):
            assert opened.open(back) == network.open(back)
    assert make(siblings=(DU1, LH1)).chain_id == network.chain_id
    again = Genesis.model_validate_json(network.open("DU1").model_dump_json())
    assert again == network.open("DU1")
    assert ids(again) == ids(network)


@pytest.mark.parametrize(
    "change",
    [
        {"siblings": ()},
        {"siblings": (DU1,)},
        {"siblings": (DU1, ChainParams(name="LH2", kind="credit"))},
        {"siblings": (DU1, LH1.model_copy(update={"consensus": ConsensusParams(checkpoint_depth=3)}))},
        {"siblings": (scheduling_chain(quota_ppm=3_000_001), LH1)},
        {"siblings": (scheduling_chain(lines=(LINES[0].model_copy(update={"capacity_wh": 1}),)), LH1)},
        {"siblings": (scheduling_chain(areas=(AREAS[0].model_copy(update={"wheeling_uyuan_per_kwh": 1}),)), LH1)},
        {"consensus": {"relief_after": 13}},
        {"time_ms": TIME_MS + 1},
    ],
)
def test_a_change_in_any_chain_is_another_network(change):
    """No chain of the one has the id of any chain of the other: no signature and no proof can be carried over."""
    before, after = make(siblings=(DU1, LH1)), make(**{"siblings": (DU1, LH1), **change})
    assert not set(ids(before).values()) & set(ids(after).values())


def test_a_member_seals_where_the_document_says():
    members = (
        GRID,
        member("anna", seals=True),
        member("bert", seals=("JY1", "LH1")),
        member("cleo", seals=["DU1"]),
        member("dora", seals=False),
    )
    network = make(*members, siblings=(DU1, LH1))
    sealers = {"DU1": ("anna", "cleo"), "JY1": ("anna", "bert"), "LH1": ("anna", "bert")}
    for name, names in sealers.items():
        keys = tuple(sorted(key(sealer) for sealer in names))
        opened = network.open(name)
        assert opened.sealers == network.sealers_of(name) == keys
        view = Overlay(build_state(opened))
        assert get_sealers(view) == keys
        assert set(get_snapshot(build_state(opened)).members) == set(keys)


def test_the_state_knows_every_other_chain_and_whose_signatures_count_there():
    members = (GRID, member("anna", seals=True), member("bert", seals=("LH1",)), member("cleo", seals=("LH1",)))
    credit = LH1.model_copy(update={"consensus": ConsensusParams(checkpoint_m=2)})
    network = make(*members, siblings=(DU1, credit))
    view = Overlay(build_state(network))
    everyone = tuple(sorted(key(name) for name in ("anna", "bert", "cleo")))
    assert get_sibling(view, ids(network)["LH1"]) == Sibling("LH1", "credit", 2, 0, everyone)
    assert get_sibling(view, ids(network)["DU1"]) == Sibling("DU1", "scheduling", 0, 0, (key("anna"),))
    assert get_sibling(view, network.chain_id) is None, "it is no sibling of itself"
    assert get_sibling(view, make().chain_id) is None


def test_chains_of_one_network_start_with_states_of_their_own():
    network = make(siblings=(DU1, LH1))
    roots = {build_state(network.open(name)).root for name in ("DU1", "JY1", "LH1")}
    assert len(roots) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"siblings": (LH1, ChainParams(name="LH2", kind="credit"))}, "two chains share a name or a kind"),
        ({"siblings": (LH1.model_copy(update={"name": "JY1"}),)}, "two chains share a name or a kind"),
        ({"siblings": (ChainParams(name="JY2"),)}, "two chains share a name or a kind"),
        (
            {"siblings": (LH1.model_copy(update={"ledger": LedgerParams(period_ms=1)}),)},
            "the chains differ in period_ms or initial_credit_upt",
        ),
        (
            {"siblings": (LH1.model_copy(update={"market": MarketParams(initial_credit_upt=1)}),)},
            "the chains differ in period_ms or initial_credit_upt",
        ),
        (
            {"siblings": (LH1.model_copy(update={"market": MarketParams(recorded_violations=1)}),)},
            "the trading and the credit chain differ in recorded_violations",
        ),
        ({"siblings": (scheduling_chain(quota_ppm=2_000_000),)}, "want quota_ppm above gate_ppm above verdict_ppm"),
        ({"siblings": (scheduling_chain(verdict_ppm=2_000_000),)}, "want quota_ppm above gate_ppm above verdict_ppm"),
        (
            {"siblings": (scheduling_chain(verdict_ppm=4),), "market": {"deadline_ppm": 5}},
            "and deadline_ppm not above that",
        ),
        ({"siblings": (scheduling_chain(meter_ppm=2_000_000),)}, "meter_ppm must come before settle_ppm"),
        ({"siblings": (scheduling_chain(quota_ppm=256_000_001),)}, "quota_ppm is above 256 periods"),
        (
            {"siblings": (scheduling_chain(meter_ppm=1_500_000),), "market": {"settle_ppm": 9_500_001}},
            "settle_ppm is over 8 periods after meter_ppm",
        ),
        (traded_twice({**TWICE, "intraday_gate_ppm": 2_000_001}), "differ in their intraday session"),
        (traded_twice({}), "differ in their intraday session"),
        (traded_twice(intraday_quota_ppm=0), "an intraday session and intraday_quota_ppm go together"),
        (
            {"siblings": (scheduling_chain(intraday_quota_ppm=2_000_000),)},
            "an intraday session and intraday_quota_ppm go together",
        ),
        (traded_twice(intraday_quota_ppm=4_000_000), "want gate_ppm above intraday_quota_ppm"),
        (traded_twice(intraday_quota_ppm=2_999_999), "intraday_open_ppm not above that"),
        (traded_twice(verdict_ppm=2_000_000), "and intraday_gate_ppm above verdict_ppm"),
        (traded_twice(quota_ppm=128_000_001), "quota_ppm is above 256 periods"),
        ({"siblings": (LH1,), "market": {"max_orders_per_period": 262_145}}, "too many for one message"),
        (
            {"siblings": (LH1.model_copy(update={"consensus": ConsensusParams(checkpoint_m=1)}),)},
            "more than checkpoint_m members must sign, but only 1",
        ),
    ],
)
def test_chains_that_do_not_fit_together_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        make(**fields)


def test_chains_that_just_fit_together_are_not():
    clock = scheduling_chain(quota_ppm=2_000_001, verdict_ppm=1_999_999, meter_ppm=1_999_999)
    make(siblings=(clock,), market={"deadline_ppm": 1_999_999})
    make(siblings=(scheduling_chain(quota_ppm=256_000_000, meter_ppm=1_500_000),), market={"settle_ppm": 9_500_000})
    make(**traded_twice(intraday_quota_ppm=3_000_000, verdict_ppm=1_999_999, quota_ppm=128_000_000))


def test_a_network_has_a_trading_chain():
    with pytest.raises(ValidationError, match="no chain is of the kind trading"):
        Genesis(params=LH1, time_ms=TIME_MS, members=(GRID, ANNA), siblings=(DU1,))


@pytest.mark.parametrize(
    ("seals", "message"),
    [
        (("JY1",), "no member has the sealing right on LH1"),
        (("JY1", "LH1", "DU1"), "a member seals on a chain that is not there: DU1 "),
        (("*", "DU1"), "a member seals on a chain that is not there: DU1 "),
    ],
)
def test_sealing_rights_must_fit_the_chains(seals, message):
    make(GRID, member("anna", seals=("JY1", "LH1")), siblings=(LH1,))
    with pytest.raises(ValidationError, match=message):
        make(GRID, member("anna", seals=seals), siblings=(LH1,))


# --- the founding state ----------------------------------------------------------------------------


def test_the_state_holds_members_accounts_sealers_and_the_first_snapshot():
    genesis = make(GRID.model_copy(update={"seals": ("*",)}), ANNA, METER, market={"initial_credit_upt": 80_000_000})
    state = build_state(genesis)
    view = Overlay(state)
    anna, grid, meter = (key_of(name) for name in ("anna", "grid", "meter"))
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
        anna.public_key: SealerSnapshot(credit_upt=80_000_000, balance_uyuan=500),
        grid.public_key: SealerSnapshot(credit_upt=80_000_000, balance_uyuan=0),
    }


def test_a_founder_has_an_unlimited_credential_whose_serial_is_its_place():
    genesis = make(GRID, ANNA.model_copy(update={"tls_key": key("tls")}), METER)
    state = build_state(genesis)
    addresses = {name: key_of(name).address for name in ("grid", "anna", "meter")}
    assert [genesis.serial_of(name) for name in addresses] == [1, 2, 3]
    credential = get_credential(Overlay(state), addresses["anna"])
    assert credential == Credential(2, key("tls"), 0, UNLIMITED_MS, ACTIVE)
    assert get_credential(Overlay(state), addresses["grid"]).tls_key == b""
    assert find_by_tls_key(state, key("tls")) == addresses["anna"]
    assert find_by_tls_key(state, b"") is None
    assert [item.member.name for item in list_members(state)] == ["anna", "grid", "meter"]


# --- the authority ---------------------------------------------------------------------------------


def test_all_chains_of_a_network_share_one_network_id():
    network = make(siblings=(DU1, LH1), authority=AUTHORITY)
    tag = hashlib.sha256(b"gridmerit/network").digest()
    members = [list(item.to_value()) for item in network.members]
    chains = [item.to_value() for item in network.chains]
    document = msgpack.packb([TIME_MS, chains, members, [1, [key("chair"), key("clerk")]]], use_bin_type=True)
    assert network.network_id == hashlib.sha256(tag + tag + document).digest()
    opened = [network.open(name) for name in ("DU1", "JY1", "LH1")]
    assert {item.network_id for item in opened} == {network.network_id}
    assert all(item.authority == AUTHORITY for item in opened)
    assert make(siblings=(DU1, LH1)).network_id != network.network_id
    for item in opened:
        record = get_authority(Overlay(build_state(item)))
        assert record[:4] == (network.network_id, 1, AUTHORITY.keys, ("DU1", "JY1", "LH1"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 0}, "greater than or equal to 1"),
        ({"threshold": 2}, "2 keys of the authority must sign, it has 0"),
        ({"threshold": 3, "keys": (key("chair"), key("clerk"))}, "3 keys of the authority must sign, it has 2"),
        ({"keys": (key("chair"), key("chair"))}, "two keys of the authority are the same"),
        ({"keys": (b"short",)}, "expected 32 bytes, got 5"),
        ({"keys": ((1).to_bytes(32, "little"),)}, "a point of small order"),
        ({"keys": ((2**255 - 18).to_bytes(32, "little"),)}, "a non-canonical encoding"),
    ],
)
def test_an_authority_that_could_not_sign_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Authority(**fields)


@pytest.mark.parametrize(
    ("members", "fields", "message"),
    [
        ((GRID, ANNA, member("chair")), {}, "chair has a key of the authority"),
        ((GRID, ANNA, member("bert", tls_key=key("clerk"))), {}, "bert has a key of the authority"),
        ((GRID, ANNA, member("bert", tls_key=b"short")), {}, "the tls_key of bert is none"),
        (
            (GRID, ANNA, member("bert", tls_key=key("t")), member("cleo", tls_key=key("t"))),
            {},
            "two members share a tls_key",
        ),
        ((GRID, ANNA), {"authority": Authority(), "market": {"audit": "required"}}, "needs an authority"),
    ],
)
def test_keys_that_mix_up_members_and_authority_are_refused(members, fields, message):
    with pytest.raises(ValidationError, match=message):
        make(*members, **{"authority": AUTHORITY, **fields})


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


def test_no_more_members_seal_than_a_certificate_holds_signatures():
    sealers = [member(f"n{number}", seals=True) for number in range(MAX_SEALERS + 1)]
    make(GRID, *sealers[:-1], ledger={"max_transaction_bytes": 1_000_000})
    with pytest.raises(ValidationError, match=f"{MAX_SEALERS + 1} members seal, .* signatures of {MAX_SEALERS}"):
        make(GRID, *sealers, ledger={"max_transaction_bytes": 1_000_000})


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
        {"seals": "JY1"},
        {"seals": 1},
        {"seals": (1,)},
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
