"""From an application to a member and out again: what the authority refuses, and the whole way on a real network."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gridmerit.errors import (
    ApplicationUsed,
    BadActFile,
    BadApplication,
    ForeignApplication,
    NotThisAuthority,
    SignedAlready,
)
from gridmerit.main import run
from gridmerit.network.enrolment import (
    AuthorityFiles,
    Keys,
    Terms,
    check_application,
    check_signatures,
    claim_application,
    compute_validity,
    hand_over,
    init_authority,
    issue_certificate,
    load_act,
    load_application,
    load_authority,
    make_admission,
    make_application,
    make_renewal,
    make_revocation,
    save_act,
    save_application,
    sign_act,
    sign_as_far,
    take_keys,
)
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile, load_params_set, scale_params
from ledger.errors import (
    DuplicateSigner,
    InvalidAct,
    InvalidKey,
    InvalidSignature,
    NoAuthority,
    TooFewSignatures,
    UnknownAuthority,
    WrongShape,
)
from ledger.genesis import Authority, Genesis, GenesisMember, build_state
from ledger.membership import check_act
from ledger.overlay import Overlay
from ledger.params import ChainParams
from ledger.signatures import SigningKey
from node.config import save_genesis
from node.credentials.certificates import DAY_MS, Subject, verify_issued
from node.credentials.keystore import load_passphrase, save_key
from node.queries.chain import ChainQueries
from node.system.clock import now_ms

NETWORK, OTHER_NETWORK = b"\x07" * 32, b"\x08" * 32
NOW_MS = 1_700_000_000_123
NEUTRAL = bytes([1, *bytes(31)])  # the point of order one
ONE, TWO, THREE = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
KEYS = Keys(SigningKey(b"\x11" * 32), SigningKey(b"\x12" * 32))
TERMS = Terms(name="homes-9", role="consumer", capacity_wh=50_000, position="hill-1", seals=("jy1",))
APPLICATION = make_application(NETWORK, TERMS, KEYS, nonce=b"\x09" * 32)
VALIDITY = compute_validity(NOW_MS, 365)
PERIOD_MS = 8_000

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command line with --json: exit code and document."""

    def call(*args: object) -> tuple[int, Any]:
        code = run([*map(str, args), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def office(tmp_path: Path) -> AuthorityFiles:
    return init_authority(tmp_path / "authority", keys=1, now_ms=NOW_MS)


# --- applications --------------------------------------------------------------------------------


def test_an_application_survives_its_file(tmp_path: Path) -> None:
    save_application(tmp_path / "application.json", APPLICATION)
    found = load_application(tmp_path / "application.json")
    assert found == APPLICATION
    check_application(found, NETWORK)
    assert 1 <= found.serial < 2**63


def test_it_is_for_one_network() -> None:
    with pytest.raises(ForeignApplication):
        check_application(APPLICATION, OTHER_NETWORK)
    with pytest.raises(InvalidSignature):
        check_application(APPLICATION.model_copy(update={"network": OTHER_NETWORK}), OTHER_NETWORK)


@pytest.mark.parametrize(
    "changes",
    [
        {"key_proof": bytes(64)},
        {"tls_key_proof": APPLICATION.key_proof},  # by the other key
        {"key": ONE.public_key},
        {"tls_key": ONE.public_key},
        {"name": "homes-10"},
        {"role": "producer"},
        {"capacity_wh": 50_001},
        {"seals": ("du1", "jy1")},
        {"nonce": b"\x0a" * 32},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_forged_possession_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidSignature):
        check_application(APPLICATION.model_copy(update=changes), NETWORK)


@pytest.mark.parametrize("field", ["key", "tls_key"])
def test_a_small_order_key_is_refused(field: str) -> None:
    with pytest.raises(InvalidKey, match="small order"):
        check_application(APPLICATION.model_copy(update={field: NEUTRAL}), NETWORK)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"role": "grid-operator"}, "nobody is admitted with the role"),
        ({"role": "device"}, "a device has no TLS key"),
        ({"tls_key": b""}, "a consumer has a TLS key"),
        ({"tls_key": KEYS.chain.public_key}, "its two keys are one"),
        ({"nonce": b"short"}, "its nonce has 5 bytes"),
        ({"owner": b"short"}, "no address"),
    ],
)
def test_an_application_that_cannot_be_used_says_why(changes: dict[str, object], what: str) -> None:
    with pytest.raises(BadApplication, match=what):
        check_application(APPLICATION.model_copy(update=changes), NETWORK)


def test_a_file_that_is_none_says_where(tmp_path: Path) -> None:
    file = tmp_path / "application.json"
    document = json.loads(APPLICATION.model_dump_json())
    for change, what in (({"nonse": "0x00"}, "nonse"), ({"key": "0xzz"}, "key"), ({"format": "1"}, "format")):
        file.write_text(json.dumps({**document, **change}))
        with pytest.raises(BadApplication, match=what):
            load_application(file)


def test_each_nonce_leads_to_another_serial() -> None:
    again = make_application(NETWORK, TERMS, KEYS)
    assert again.serial != APPLICATION.serial
    assert again.nonce != make_application(NETWORK, TERMS, KEYS).nonce


def test_keys_are_private_and_made_once(tmp_path: Path) -> None:
    keys = take_keys(tmp_path, needs_tls=True)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    again = take_keys(tmp_path, needs_tls=True)
    assert keys.tls is not None
    assert again.tls is not None
    assert (again.chain.seed, again.tls.seed) == (keys.chain.seed, keys.tls.seed)
    assert b"ENCRYPTED" in (tmp_path / "tls-key.pem").read_bytes()


def test_an_application_is_used_once(office: AuthorityFiles) -> None:
    act = make_admission(APPLICATION, VALIDITY)
    file = claim_application(office, APPLICATION, act)
    with pytest.raises(ApplicationUsed, match=str(file)):
        claim_application(office, APPLICATION, act)
    assert load_act(file) == act


def test_a_nonce_is_used_once_whatever_stands_beside_it(office: AuthorityFiles) -> None:
    claim_application(office, APPLICATION, make_admission(APPLICATION, VALIDITY))
    other = make_application(NETWORK, TERMS._replace(name="homes-10"), KEYS, nonce=APPLICATION.nonce)
    check_application(other, NETWORK)
    with pytest.raises(ApplicationUsed):
        claim_application(office, other, make_admission(other, VALIDITY))


# --- acts ----------------------------------------------------------------------------------------


def make_genesis(authority: Authority) -> Genesis:
    members = (GenesisMember(name="grid", role="grid-operator", key=SigningKey(b"\x21" * 32).public_key, seals=("*",)),)
    return Genesis(params=ChainParams(name="jy1"), time_ms=NOW_MS, members=members, authority=authority)


def test_m_different_keys_must_sign() -> None:
    authority = Authority(threshold=2, keys=(ONE.public_key, TWO.public_key, THREE.public_key))
    genesis = make_genesis(authority)
    view = Overlay(build_state(genesis))
    act = sign_act(make_revocation(genesis.network_id, 5, ""), ONE)
    with pytest.raises(TooFewSignatures):
        check_signatures(act, authority)
    with pytest.raises(TooFewSignatures):
        check_act(view, *act.payload)
    with pytest.raises(SignedAlready):
        sign_act(act, ONE)
    by_one_key = replace(act, signatures=act.signatures * 2)
    with pytest.raises(DuplicateSigner):
        check_signatures(by_one_key, authority)
    with pytest.raises(DuplicateSigner):
        check_act(view, *by_one_key.payload)
    enough = sign_act(act, THREE)
    check_signatures(enough, authority)
    check_act(view, *enough.payload)


def test_only_the_authority_counts(office: AuthorityFiles) -> None:
    act = make_revocation(NETWORK, 5, "")
    authority = Authority(keys=(ONE.public_key,))
    with pytest.raises(UnknownAuthority):
        check_signatures(sign_act(act, TWO), authority)
    with pytest.raises(NotThisAuthority):
        sign_as_far(act, office, authority)
    for nobody in (lambda: sign_as_far(act, office, Authority()), lambda: check_signatures(act, Authority())):
        with pytest.raises(NoAuthority):
            nobody()


def test_a_directory_signs_with_no_more_keys_than_must(tmp_path: Path) -> None:
    files = init_authority(tmp_path / "authority", keys=3, now_ms=NOW_MS)
    keys = tuple(key.public_key for key in load_authority(files.directory).keys)
    assert keys == tuple(key.public_key for key in files.keys)
    signed = sign_as_far(make_revocation(NETWORK, 5, ""), files, Authority(threshold=2, keys=keys))
    assert len(signed.signatures) == 2


def test_acts_survive_their_files_and_changed_ones_do_not(tmp_path: Path) -> None:
    file = tmp_path / "act.json"
    renewal = make_renewal(NETWORK, 1, 2**63 - 1, KEYS.chain.public_key, VALIDITY)
    for act in (make_admission(APPLICATION, VALIDITY), make_revocation(NETWORK, 7, "why"), renewal):
        signed = sign_act(sign_act(act, TWO), ONE)
        save_act(file, signed)
        assert load_act(file) == signed
    document = json.loads(file.read_text())
    for change in ({"network": "0x" + OTHER_NETWORK.hex()}, {"body": document["body"][:-2] + "01"}, {"body": "0x01"}):
        file.write_text(json.dumps({**document, **change}))
        with pytest.raises(BadActFile):
            load_act(file)


def test_what_no_chain_could_take_is_not_signed() -> None:
    for serial in (0, 2**63):
        with pytest.raises(WrongShape):
            make_revocation(NETWORK, serial, "")
    with pytest.raises(InvalidKey):
        make_renewal(NETWORK, 1, 2, NEUTRAL, VALIDITY)
    with pytest.raises(InvalidAct):
        make_admission(APPLICATION, VALIDITY, seals=("jy1", "jy1"))


def test_the_certificate_says_what_the_act_says(office: AuthorityFiles, tmp_path: Path) -> None:
    act = make_admission(APPLICATION, VALIDITY)
    subject = Subject(member="homes-9", key=APPLICATION.key, role="consumer", network=NETWORK)
    kept = issue_certificate(office, subject, tls_key=APPLICATION.tls_key, serial=act.serial, validity=VALIDITY)
    file = hand_over(office, kept, tmp_path / "node")
    info = verify_issued(file.read_bytes(), (tmp_path / "node/ca.pem").read_bytes())
    assert (info.subject, info.tls_key, info.serial) == (subject, APPLICATION.tls_key, APPLICATION.serial)
    assert (info.not_before_ms, info.not_after_ms) == VALIDITY == act.body[-4:-2]
    assert info.days_left(NOW_MS) == 364
    assert VALIDITY.begin_ms <= NOW_MS - DAY_MS


# --- commands without a network ------------------------------------------------------------------


def test_an_authority_of_keys_in_several_hands(ask: Ask, tmp_path: Path) -> None:
    code, made = ask("authority", "init", tmp_path / "authority", "--with", TWO.public_key.hex(), "--threshold", 2)
    assert code == 0
    authority = Authority.model_validate_json(json.dumps(made["authority"]))
    assert (authority.threshold, len(authority.keys)) == (2, 2)
    assert stat.S_IMODE((tmp_path / "authority").stat().st_mode) == 0o700
    private = [*(tmp_path / "authority").glob("*key*.pem"), tmp_path / "authority/passphrase"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in private} == {0o600}
    assert ask("authority", "init", tmp_path / "authority")[1]["error"] == "BusyDirectory"
    assert ask("authority", "init", tmp_path / "other", "--with", NEUTRAL.hex())[0] == 2


def test_one_more_signature(ask: Ask, tmp_path: Path) -> None:
    assert ask("key", "new", tmp_path / "mine/key.pem")[0] == 0
    file = tmp_path / "act.json"
    save_act(file, sign_act(make_admission(APPLICATION, VALIDITY), ONE))
    sign = ("authority", "sign", file, "--key", tmp_path / "mine/key.pem")
    code, document = ask(*sign)
    assert (code, document["act"]["name"], document["act"]["seals"]) == (0, "homes-9", ["jy1"])
    assert len(document["signers"]) == 2
    assert len(load_act(file).signatures) == 2
    assert ask(*sign)[1]["error"] == "SignedAlready"
    assert ask("authority", "show", file) == (0, document)


def test_apply_makes_what_the_authority_can_check(ask: Ask, tmp_path: Path) -> None:
    genesis = make_genesis(Authority(keys=(ONE.public_key,)))
    save_genesis(genesis, tmp_path / "genesis.json")
    apply = ("member", "apply", "--name", "homes-9", "--role", "consumer", "--capacity-kwh", 50, "-o", tmp_path)
    code, document = ask(*apply, "--seals", "all")
    assert code == 0
    application = load_application(tmp_path / "application.json")
    check_application(application, genesis.network_id)
    assert (application.serial, application.capacity_wh) == (int(document["serial"]), 50_000)
    assert application.seals == ("jy1",)
    code, meter = ask(
        "member", "apply", "--name", "meter-9", "--role", "device", "--owner", "grid", "-o", tmp_path / "meter",
        "--genesis", tmp_path / "genesis.json",
    )  # fmt: skip
    assert (code, meter["tls_key"]) == (0, "")
    assert not (tmp_path / "meter/tls-key.pem").exists()
    device = ("member", "apply", "--name", "meter-8", "--role", "device", "--genesis", tmp_path / "genesis.json")
    assert ask(*device, "--owner", "0x12", "-o", tmp_path / "x")[0] == 2
    code, unknown = ask(*device, "--owner", "homes-8", "--api", "http://127.0.0.1:9", "-o", tmp_path / "x")
    assert (code, unknown["error"]) == (4, "Unreachable"), "whose name it is, a node must say"
    for wrong in (("--seals", "xx1"), ("--owner", "grid"), ("--role", "authority"), ("--name", "a b")):
        assert ask(*apply, *wrong)[0] == 2


# --- an authority of two, on one node --------------------------------------------------------------


async def test_two_must_sign_before_a_chain_hears_of_it(
    make_local: Callable[..., Any], ask: Ask, tmp_path: Path
) -> None:
    local = make_local(1, secure=False, period_ms=2_000)
    office = init_authority(tmp_path / "authority", keys=1, now_ms=now_ms())
    save_key(tmp_path / "second.pem", TWO, load_passphrase(tmp_path / "passphrase"))
    authority = Authority(threshold=2, keys=(office.keys[0].public_key, TWO.public_key))
    genesis = local.genesis.model_copy(update={"authority": authority})
    save_genesis(genesis, tmp_path / "genesis.json")
    async with local.running() as (runtime,):
        where = ("--api", f"http://127.0.0.1:{runtime.api_port}")
        sponsor = ("--key", tmp_path / "n0.pem", "--passphrase-file", tmp_path / "passphrase")

        async def go(*args: object) -> Any:
            return await asyncio.to_thread(ask, *args)

        member = ("--name", "homes-9", "--role", "consumer", "--genesis", tmp_path / "genesis.json")
        await go("member", "apply", *member, "-o", tmp_path / "mine")
        device = ("member", "apply", "--name", "meter", "--role", "device", "--owner", "homes-9", *where)
        code, nobody = await go(*device, "--genesis", tmp_path / "genesis.json", "-o", tmp_path / "meter")
        assert (code, nobody["error"]) == (5, "UnknownAccount")
        save_genesis(make_genesis(Authority(keys=(ONE.public_key,))), tmp_path / "other.json")
        code, other = await go(*device, "--genesis", tmp_path / "other.json", "-o", tmp_path / "meter")
        assert (code, other["error"]) == (6, "WrongChain")
        admit = ("member", "admit", tmp_path / "mine/application.json", "--authority", office.directory)
        _, left = await go(*admit, *sponsor, *where)
        assert (left["status"], left["signatures"], left["threshold"]) == ("unsigned", 1, 2)

        submit = ("authority", "submit", left["act"], *sponsor, *where)
        code, refused = await go(*submit)
        assert (code, refused["error"]) == (6, "TooFewSignatures")
        second = ("--key", tmp_path / "second.pem", "--passphrase-file", tmp_path / "passphrase")
        assert (await go("authority", "sign", left["act"], *second))[0] == 0
        code, done = await go(*submit)
        assert (code, done["chains"]["jy1"]["status"]) == (0, "done")
        host = local.host(runtime)
        await local.until(lambda: ChainQueries(host.node).get_member("homes-9").status == "active")
        code, _ = await go(*device, "--genesis", tmp_path / "genesis.json", "-o", tmp_path / "meter")
        assert code == 0
        owner = load_application(tmp_path / "meter/application.json").owner
        assert owner == ChainQueries(host.node).members.find("homes-9")


# --- the whole way, on a real network of three chains ----------------------------------------------


@pytest.fixture(scope="module")
def live_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("members") / "net"
    params = [scale_params(chain, PERIOD_MS) for chain in load_params_set()]
    new_network(home, nodes=4, params=params, profile=load_packaged_profile(), seed=8)
    try:
        assert run(["net", "up", str(home)]) == 0
        yield home
    finally:
        run(["net", "down", str(home)])


@pytest.mark.live
def test_from_an_application_to_a_revocation(live_network: Path, ask: Ask, tmp_path: Path) -> None:
    home, mine, node = live_network, tmp_path / "mine", ("--node", live_network)

    assert ask("member", "show", "homes-9", *node)[0] == 5
    code, applied = ask(
        "member", "apply", "--name", "homes-9", "--role", "consumer", "--capacity-kwh", 50, "--position", "hill-1",
        "--genesis", home / "genesis.json", "-o", mine,
    )  # fmt: skip
    assert code == 0, applied
    code, admitted = ask("member", "admit", mine / "application.json", *node)
    assert code == 0, admitted
    assert {chain: item["status"] for chain, item in admitted["chains"].items()} == dict.fromkeys(
        ("du1", "jy1", "lh1"), "done"
    )
    _, shown = ask("member", "show", "homes-9", *node)
    assert {(item["status"], item["serial"]) for item in shown.values()} == {("active", applied["serial"])}
    assert verify_issued((mine / "tls.pem").read_bytes(), (mine / "ca.pem").read_bytes()).serial == int(
        applied["serial"]
    )
    assert ask("member", "admit", mine / "application.json", *node)[1]["error"] == "ApplicationUsed"
    _, again = ask("authority", "submit", admitted["act"], *node)
    assert {item["status"] for item in again["chains"].values()} == {"already"}

    pay = ("tx", "send", "transfer")
    assert ask(*pay, "homes-9", "12.50", "--key", "homes-1", *node)[0] == 0
    assert ask(*pay, "homes-1", "2.50", "--key", mine / "key.pem", *node)[0] == 0
    _, account = ask("account", "show", "homes-9", *node)
    assert (account["name"], account["balance_uyuan"]) == ("homes-9", "10000000")

    code, renewed = ask("member", "renew", "homes-9", *node, "-o", mine, "--days", 30)
    assert code == 0, renewed
    assert verify_issued((mine / "tls.pem").read_bytes(), (mine / "ca.pem").read_bytes()).serial != int(
        applied["serial"]
    )

    _, anew = ask(
        "member", "apply", "--name", "homes-9", "--role", "consumer", "--key", mine / "key.pem",
        "--genesis", home / "genesis.json", "-o", tmp_path / "new",
    )  # fmt: skip
    assert anew["tls_key"] != applied["tls_key"]
    by_application = ("--application", tmp_path / "new/application.json", "-o", tmp_path / "new")
    code, renewed = ask("member", "renew", "homes-9", *node, *by_application)
    assert code == 0, renewed
    info = verify_issued((tmp_path / "new/tls.pem").read_bytes(), (mine / "ca.pem").read_bytes())
    assert (str(info.serial), info.tls_key.hex()) == (anew["serial"], anew["tls_key"])
    _, shown = ask("member", "show", "homes-9", *node)
    assert {(item["serial"], item["tls_key"]) for item in shown.values()} == {(anew["serial"], anew["tls_key"])}

    code, revoked = ask("member", "revoke", "homes-9", "--reason", "a test", *node)
    assert code == 0, revoked
    code, refused = ask(*pay, "homes-1", "1", "--key", mine / "key.pem", *node)
    assert (code, refused["error"]) == (6, "MemberRevoked")
    _, members = ask("member", "list", *node)
    assert {item["status"] for item in members if item["name"] == "homes-9"} == {"revoked"}
    assert ask("member", "revoke", "homes-9", *node)[1]["error"] == "MemberRevoked"


@pytest.mark.live
def test_a_member_leaves_by_itself(live_network: Path, ask: Ask) -> None:
    node = ("--node", live_network)
    assert ask("member", "exit", "--key", "homes-8", *node)[0] == 2, "it must be said twice"
    code, left = ask("member", "exit", "--yes", "--key", "homes-8", *node)
    assert code == 0, left
    assert set(left["chains"]) == {"du1", "jy1", "lh1"}
    assert {item["status"] for item in ask("member", "show", "homes-8", *node)[1].values()} == {"left"}
    code, refused = ask("tx", "send", "transfer", "homes-1", "1", "--key", "homes-8", *node)
    assert (code, refused["error"]) == (6, "MemberLeft")
