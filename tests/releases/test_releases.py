"""The network of every release so far is opened by this one: its ids, its blocks, its money; and it goes on."""

import json
import tarfile
from pathlib import Path

import pytest

from consensus.checkpoints import compute_quorum
from consensus.quorum import QuorumCertificate, verify_certificate
from ledger.accounts import describe_account, get_account
from ledger.chain import Chain
from ledger.genesis import build_state
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.store import LevelStore, MemoryStore
from ledger.transaction import make_transaction
from node.config import load_genesis
from node.driver.signing_file import SigningFile
from simulation.world.invariants import Invariants, execute_again
from simulation.world.networks import key_of
from simulation.world.peer import Backup
from simulation.world.world import open_worlds

HERE = Path(__file__).parent
RELEASES = sorted(file.parent.name for file in HERE.glob("*/facts.json"))
NAMES = ("n0", "n1", "n2", "n3")


class Release:
    """The files of one release, unpacked to where they may be changed."""

    def __init__(self, name, directory):
        self.directory = directory
        self.facts = json.loads((HERE / name / "facts.json").read_text(encoding="utf-8"))
        self.chains = {chain: self.open_genesis(name, chain) for chain in self.facts["chains"]}
        with tarfile.open(HERE / name / "machines.tar.xz") as archive:
            archive.extractall(directory, filter="data")

    @staticmethod
    def open_genesis(name, chain):
        return load_genesis(HERE / name / "genesis.json", chain)

    def store(self, chain):
        return LevelStore(self.directory / "n0" / chain / "ledger")

    def record(self, peer, chain):
        with SigningFile(self.directory / peer / chain, self.chains[chain].chain_id) as guard:
            return guard.load(ledger_exists=True)


@pytest.fixture(params=RELEASES)
def release(request, tmp_path):
    return Release(request.param, tmp_path)


def test_there_is_one():
    assert "0.1.0" in RELEASES
    assert sum(file.stat().st_size for file in HERE.glob("*/*.*") if file.suffix != ".py") < 300_000 * len(RELEASES)


def test_its_ids_are_what_they_were(release):
    """Parameters that its genesis does not know change nothing."""
    for chain, genesis in release.chains.items():
        assert genesis.chain_id.hex() == release.facts["chains"][chain]["chain_id"]
        assert genesis.network_id.hex() == release.facts["network_id"]


def test_its_chains_open_where_they_ended_and_say_what_they_said(release):
    for name, genesis in release.chains.items():
        said, store = release.facts["chains"][name], release.store(name)
        for _ in range(2):  # the second time it has this release's version
            chain = Chain(genesis, store)
            head = chain.head.header
            assert [head.height, head.hash.hex(), head.state_root.hex()] == [
                said[key] for key in ("height", "head", "state_root")
            ]
            assert chain.final_height == said["final_height"]
            view = Overlay(chain.head.state)
            accounts = {
                member.name: describe_account(get_account(view, address_of(member.key))) for member in genesis.members
            }
            assert accounts == said["accounts"]
        store.close()


def test_every_block_executes_again_and_every_certificate_holds(release):
    for name, genesis in release.chains.items():
        store = release.store(name)
        chain, state = Chain(genesis, store), build_state(genesis)
        for height in range(1, chain.head.height + 1):
            state = execute_again(genesis, chain, height, state)
            assert state.root == chain.get_header(chain.hash_at(height)).state_root
        assert state.root == chain.head.state.root
        certificates = [QuorumCertificate.from_bytes(raw) for _, raw in store.scan(b"c")]
        quorum = compute_quorum(genesis.params.consensus, len(genesis.sealers))
        for certificate in certificates:
            verify_certificate(certificate, genesis.sealers, quorum, chain_id=genesis.chain_id)
            assert chain.is_canonical(chain.get_header(certificate.statement.block_hash))
        assert len(certificates) > 8
        store.close()


def test_it_goes_on(release):
    """One machine has its own directory, the others have copies of its ledger and their own signing records."""
    genesis = next(iter(release.chains.values()))
    worlds = open_worlds(genesis, {name: key_of(name) for name in NAMES}, seed=5, sealing="drawn")
    invariants = Invariants(worlds.values(), command="this test", deep_every_ms=0)
    for chain, world in worlds.items():
        rows = list((store := release.store(chain)).scan(b""))
        store.close()
        for name in NAMES:
            world.crash(name)
            copy = MemoryStore()
            copy.write(rows)
            world.peers[name].put_back(Backup(copy, release.record(name, chain)))
    first = next(iter(worlds.values()))
    first.run_for(release.facts["end_ms"] - first.now_ms + 60_000)
    for world in worlds.values():
        for name in NAMES:
            world.start(name)
    trading = worlds["JY1"]
    before = {name: said["height"] for name, said in release.facts["chains"].items()}
    said = release.facts["chains"]["JY1"]["accounts"]
    trading.run_for(10_000)
    transfer = make_transaction(
        key_of("n1"),
        chain_id=trading.chain_id,
        sequence=said["n1"]["sequence"],
        expiry_height=before["JY1"] + 1_000,
        kind="transfer",
        payload=(key_of("n2").address, 1_000),
    )
    assert trading.submit("n3", transfer) == (None,)

    def has_gone_on(chain):
        return all(worlds[chain].node(name).chain.final_height > before[chain] + 10 for name in NAMES)

    first.run_until(lambda: all(map(has_gone_on, worlds)), limit_ms=600_000)
    chain = trading.node("n0").chain
    block_hash, index = chain.find_transaction(transfer.id)
    assert chain.get_receipts(block_hash)[index].code == ""
    assert [fault for world in worlds.values() for peer in world.peers.values() for fault in peer.faults] == []
    invariants.check_deeply()
