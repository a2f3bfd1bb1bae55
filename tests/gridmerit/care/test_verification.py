"""Damage of every kind in a real node's directory: found by verify, described by inspect, mended where it can be."""

import asyncio
import json
import shutil
import subprocess
import sys
from contextlib import closing

import pytest

from consensus.signing_record import SigningRecord
from ledger import rows
from ledger.store import LevelStore
from node.driver.signing_file import SigningFile
from node.proofs.store_audit import KINDS
from node.runtime import Runtime

pytestmark = pytest.mark.live


def verify(gridmerit, home, *options):
    code, out, err = gridmerit("node", "verify", home, "--json", *options)
    document = json.loads(out)
    return code, document, err


def damage(document):
    [chain] = document["chains"]
    return chain["damage"]


def spoil_row(place, prefix, change):
    with closing(LevelStore(place.ledger)) as store:
        key, value = list(store.scan(prefix))[-1]
        store.write([(key, change(value))])


def test_a_sound_directory_is_said_to_be_sound_and_nothing_in_it_changes(gridmerit, home, chain):
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    code, document, err = verify(gridmerit, home)
    assert (code, document["sound"]) == (0, True), document
    assert "blocks: " in err
    assert gridmerit("node", "verify", home)[1].startswith("ok    jy1: ")
    assert json.loads(gridmerit("node", "inspect", home, "--json")[1])[0]["sound"]
    assert {file: file.read_bytes() for file in home.rglob("*") if file.is_file()} == before


FLIPPED = [prefix for prefix in KINDS if prefix not in (b"R", b"K", b"P", b"m", b"M", b"V", b"S", b"Y", b"B", b"D")]


@pytest.mark.parametrize("prefix", FLIPPED, ids=[KINDS[prefix].replace(" ", "-") for prefix in FLIPPED])
def test_a_flipped_bit_in_a_row_of_each_kind_is_found(gridmerit, home, chain, prefix):
    spoil_row(chain, prefix, lambda value: value[:-1] + bytes([value[-1] ^ 1]))
    code, document, _ = verify(gridmerit, home)
    assert code == 7
    assert all(one["remedy"] and "DIR" not in one["remedy"] for one in damage(document)), document
    assert {one["error"] for one in damage(document)} <= {"RowWrong", "RowMissing", "StateDiffers", "StrayRows"}
    code, out, _ = gridmerit("node", "inspect", home)
    assert (code, "opens           yes" in out) == (0, True)


def flip_table(place, share):
    table = max(place.ledger.glob("*.ldb"), key=lambda file: file.stat().st_size)
    raw = bytearray(table.read_bytes())
    raw[int(len(raw) * share)] ^= 0x40
    table.write_bytes(raw)


def cut(pattern, share=0.5):
    def spoil(place):
        file = max(place.ledger.glob(pattern), key=lambda one: one.stat().st_size)
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    return spoil


def remove(pattern):
    def spoil(place):
        max(place.ledger.glob(pattern), key=lambda one: one.stat().st_size).unlink()

    return spoil


FILES = {
    **{f"flip-{tenth}": lambda place, share=tenth / 10: flip_table(place, share) for tenth in range(0, 10, 2)},
    "cut-table": cut("*.ldb"),
    "no-table": remove("*.ldb"),
    "no-current": remove("CURRENT"),
    "empty-current": cut("CURRENT", 0),
    "no-manifest": remove("MANIFEST-*"),
    "empty-manifest": cut("MANIFEST-*", 0),
}


@pytest.mark.parametrize("spoil", FILES.values(), ids=FILES)
def test_a_damaged_file_is_found_and_described(gridmerit, home, chain, spoil):
    spoil(chain)
    code, document, _ = verify(gridmerit, home)
    assert (code, document["sound"]) == (7, False)
    assert all(one["remedy"] for one in damage(document))
    code, out, _ = gridmerit("node", "inspect", home, "--json")
    [seen] = json.loads(out)
    assert code == 0
    assert seen["files"]
    assert seen["signed_height"] > 0
    assert seen["opens"] or seen["damage"]
    assert gridmerit("node", "inspect", home)[0] == 0


def test_what_could_be_read_of_a_store_that_does_not_open_is_told(gridmerit, home, chain):
    (chain.ledger / "CURRENT").unlink()
    [seen] = json.loads(gridmerit("node", "inspect", home, "--json")[1])
    assert (seen["opens"], seen["salvaged"]) == (False, True)
    assert seen["height"] > 12
    assert seen["certificate"]["signatures"] == 2
    assert seen["rows"]["block"]["count"] == seen["height"] + 1
    [fault] = seen["damage"]
    assert fault["error"] == "StoreCorrupt"
    assert f"{chain.ledger} holds data but its CURRENT file is missing" in fault["message"]
    assert not (chain.ledger / "CURRENT").exists(), "nothing is changed"


@pytest.mark.parametrize(
    ("spoil", "error"),
    [(lambda file: file.unlink(), "GuardMissing"), (lambda file: file.write_bytes(b"x"), "GuardCorrupt")],
    ids=["missing", "damaged"],
)
def test_a_guard_that_is_lost_or_damaged_is_found(gridmerit, home, chain, spoil, error):
    spoil(chain.guard)
    code, document, _ = verify(gridmerit, home)
    assert (code, [one["error"] for one in damage(document)]) == (7, [error])
    assert "not known: its record cannot be read" in gridmerit("node", "inspect", home)[1]


def test_a_store_below_what_its_key_has_signed_is_found(gridmerit, home, chain):
    with SigningFile(chain.directory, chain.genesis.chain_id) as guard:
        guard.save(SigningRecord(height=10**6))
    code, document, _ = verify(gridmerit, home)
    assert (code, [one["error"] for one in damage(document)]) == (7, ["RolledBack"])


def test_a_node_that_was_never_started_has_nothing_to_verify(gridmerit, home, chain):
    shutil.rmtree(chain.directory)
    assert gridmerit("node", "verify", home)[:2] == (0, "no chain has been started here yet\n")
    assert "it has not been started" in gridmerit("node", "inspect", home)[1]
    code, _, err = gridmerit("node", "verify", home, "--chain", "xx")
    assert (code, "UnknownChainName" in err) == (5, True)
    assert gridmerit("node", "verify", home / "no")[0] == 3
    assert gridmerit("node", "verify", home, "--from", "http://x")[0] == 2


# --- mending -------------------------------------------------------------------------------------


def rows_of(place):
    with closing(LevelStore(place.ledger)) as store:
        return dict(store.scan(b""))


FOLLOWS = (rows.HASH, rows.HEIGHT, rows.TRANSACTION)


@pytest.mark.parametrize("prefix", FOLLOWS, ids=["hash", "header", "place"])
@pytest.mark.parametrize(
    "change", [lambda value: None, lambda value: value[:-1] + bytes([value[-1] ^ 1])], ids=["lost", "wrong"]
)
def test_what_follows_from_the_rest_is_mended_alone(gridmerit, home, chain, prefix, change):
    before = rows_of(chain)
    spoil_row(chain, prefix, change)
    code, document, _ = verify(gridmerit, home, "--mend")
    assert (code, document["sound"], len(document["mended"]) > 0) == (0, True, True), document
    assert rows_of(chain) == before
    assert (chain.directory / "ledger.damaged").is_dir()
    assert gridmerit("node", "verify", home, "--mend")[0] == 0


def test_strays_are_swept_away(gridmerit, home, chain):
    before = rows_of(chain)
    with closing(LevelStore(chain.ledger)) as store:
        store.write([(rows.height_key(10**6), bytes(32)), (rows.block_key(10**6), b"x")])
    assert verify(gridmerit, home, "--mend")[0] == 0
    assert rows_of(chain) == before


async def test_blocks_receipts_and_certificates_are_fetched_and_nothing_is_believed(grown, home, chain, tmp_path):
    before = rows_of(chain)
    with closing(LevelStore(grown.configs[1].data_dir / chain.name / "ledger")) as store:
        common = [key for key in before if store.get(key) == before[key] or (key[:1] == b"c" and store.get(key))]
    shared = max(key[1:] for key in common if key[:1] == rows.BLOCK)  # where they have parted, empty receipts are alike
    certificate = max(key for key in common if key[:1] == b"c")
    with closing(LevelStore(chain.ledger)) as store:
        for key in (rows.BLOCK + shared, rows.RECEIPTS + shared, certificate):
            store.write([(key, before[key][:-1] + bytes([before[key][-1] ^ 1]))])
    command = [sys.executable, "-m", "gridmerit", "node", "verify", str(home), "--mend", "--json"]

    def run(*more):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    code, _ = await asyncio.to_thread(run)
    assert code == 7, "it does not follow from the rest"
    assert rows_of(chain) != before
    other = grown.configs[1].model_copy(update={"data_dir": tmp_path / "n1"})
    shutil.copytree(grown.configs[1].data_dir, other.data_dir)
    runtime = Runtime(other)
    await runtime.start()
    try:
        code, out = await asyncio.to_thread(run, "--from", f"http://127.0.0.1:{runtime.api_port}")
    finally:
        await runtime.stop()
    assert code == 0, out
    after = rows_of(chain)
    assert {key for key in before if before[key] != after.get(key)} <= {key for key in before if key[:1] == b"c"}
    assert set(after) == set(before)


def test_what_cannot_be_mended_is_left_as_it_was(gridmerit, home, chain):
    spoil_row(chain, rows.STATE, lambda value: value[:-1] + bytes([value[-1] ^ 1]))
    before = rows_of(chain)
    code, document, _ = verify(gridmerit, home, "--mend")
    assert (code, document["mended"]) == (7, [])
    assert damage(document)[0]["error"] == "StateDiffers"
    assert "gridmerit node reset" in damage(document)[0]["remedy"]
    assert rows_of(chain) == before


def test_a_store_without_its_current_file_is_mended(gridmerit, home, chain):
    before = rows_of(chain)
    (chain.ledger / "CURRENT").unlink()
    code, document, _ = verify(gridmerit, home, "--mend")
    assert code == 0
    assert "its CURRENT file is missing" in document["mended"][0]
    assert rows_of(chain) == before


def test_mending_wants_the_node_stopped(gridmerit, home, chain):
    spoil_row(chain, rows.TRANSACTION, lambda value: None)
    with SigningFile(chain.directory, chain.genesis.chain_id):
        assert verify(gridmerit, home)[0] == 7
        code, _, err = gridmerit("node", "verify", home, "--mend")
    assert (code, "StoreLocked" in err) == (9, True)


@pytest.mark.parametrize("target", ["gridmerit.care.mending.publish", "gridmerit.care.mending.audit_store"])
def test_a_kill_while_a_store_is_mended_leaves_one_of_the_two(gridmerit, home, chain, killed_at, target):
    before = rows_of(chain)
    spoil_row(chain, rows.TRANSACTION, lambda value: None)
    assert killed_at(target, 1, "node", "verify", home, "--mend")
    if not chain.ledger.exists():
        (chain.directory / "ledger.damaged").rename(chain.ledger)
    assert verify(gridmerit, home, "--mend")[0] == 0
    assert rows_of(chain) == before
    assert not list(chain.directory.glob(".copy-*")), "what was left is cleared away"
