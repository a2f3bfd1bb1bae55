"""Backups of nodes that run and of nodes that do not: of one moment, checked, whole or not there; and restoring."""

import asyncio
import json
import shutil
from contextlib import closing

import pytest

from gridmerit.care.backup import back_up, restore
from gridmerit.care.manifest import MANIFEST, load_manifest
from gridmerit.care.places import open_place
from gridmerit.care.verification import verify_chain
from ledger.store import LevelStore
from node.config import load_config
from node.driver.signing_file import read_record
from node.runtime import Runtime
from tests.gridmerit.care.conftest import CHAIN, make_home

pytestmark = pytest.mark.live


def make(gridmerit, home, target, *options):
    code, out, err = gridmerit("node", "backup", home, target, "--json", *options)
    assert code == 0, err
    return json.loads(out)


def rows_of(ledger):
    with closing(LevelStore(ledger)) as store:
        return dict(store.scan(b""))


def test_a_backup_restored_is_the_same_but_for_its_mark(gridmerit, home, chain, tmp_path):
    before = rows_of(chain.ledger)
    made = make(gridmerit, home, tmp_path / "backup")
    assert made["chains"][0]["rows"] == len(before)
    assert made["chains"][0]["height"] > 12
    code, out, _ = gridmerit("node", "restore", tmp_path / "backup", tmp_path / "back", "--json")
    assert (code, json.loads(out)["chains"]) == (0, made["chains"])
    [restored] = open_place(tmp_path / "back").chains
    assert rows_of(restored.ledger) == before
    assert verify_chain(restored, lambda _: None).is_sound
    old, new = (read_record(one.guard, one.genesis.chain_id) for one in (chain, restored))
    assert (old.is_restored, new.is_restored) == (False, True)
    assert new == old.after_restore()
    assert "restored: it signs nothing until" in gridmerit("node", "inspect", tmp_path / "back")[1]


def test_the_texts_say_what_is_not_in_it_and_what_comes_next(gridmerit, home, tmp_path):
    (home / "key.pem").write_text("secret")
    text = (home / "node.toml").read_text()
    key = load_config(home / "node.toml").key_file
    (home / "node.toml").write_text(text.replace(str(key), "key.pem"))
    code, out, _ = gridmerit("node", "backup", home, tmp_path / "without")
    assert (code, "not in it" in out, "key.pem" in out) == (0, True, True)
    assert not (tmp_path / "without" / "key.pem").exists()
    assert "gridmerit node restore" in out
    code, out, _ = gridmerit("node", "restore", tmp_path / "without", tmp_path / "back")
    assert "put in place, from where you keep them: key.pem" in out
    with_keys = make(gridmerit, home, tmp_path / "with", "--with-keys")
    assert (with_keys["keys"], (tmp_path / "with" / "key.pem").read_text()) == (True, "secret")
    assert (tmp_path / "with").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "with" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(gridmerit, home, tmp_path):
    make(gridmerit, home, tmp_path / "backup")
    code, _, err = gridmerit("node", "backup", home, tmp_path / "backup")
    assert (code, "BusyDirectory" in err) == (3, True)
    code, _, err = gridmerit("node", "restore", tmp_path / "backup", home)
    assert (code, "BusyDirectory" in err) == (3, True)
    (tmp_path / "empty").mkdir()
    assert gridmerit("node", "restore", tmp_path / "backup", tmp_path / "empty")[0] == 0


SPOILS = {
    "flipped": ("data/jy1/ledger/*.ldb", lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\xff"), "hash"),
    "cut": ("data/jy1/ledger/*.ldb", lambda file: file.write_bytes(file.read_bytes()[:-9]), "bytes, not"),
    "missing": ("data/jy1/guard", lambda file: file.unlink(), "it is missing"),
    "more": ("genesis.json", lambda file: file.with_name("more").write_text(""), "not in the manifest"),
    "manifest": (MANIFEST, lambda file: file.write_text(file.read_text().replace("height", "heigth")), "digest"),
    "no json": (MANIFEST, lambda file: file.write_text("{"), "no JSON"),
}


@pytest.mark.parametrize(("pattern", "spoil", "said"), SPOILS.values(), ids=SPOILS)
def test_a_backup_that_is_damaged_is_not_restored(gridmerit, home, tmp_path, pattern, spoil, said):
    make(gridmerit, home, tmp_path / "backup")
    spoil(next(iter(sorted((tmp_path / "backup").glob(pattern)))))
    code, _, err = gridmerit("node", "restore", tmp_path / "backup", tmp_path / "back")
    assert (code, "BackupDamaged" in err, said in err) == (7, True, True), err
    assert "try: another backup" in err
    assert not (tmp_path / "back").exists()


def test_what_is_no_backup_or_of_a_later_format_is_told(gridmerit, home, tmp_path):
    code, _, err = gridmerit("node", "restore", home, tmp_path / "back")
    assert (code, "NotABackup" in err) == (3, True)
    make(gridmerit, home, tmp_path / "backup")
    file = tmp_path / "backup" / MANIFEST
    file.write_text(file.read_text().replace('"format": 1', '"format": 9'))
    code, _, err = gridmerit("node", "restore", tmp_path / "backup", tmp_path / "back")
    assert (code, "BackupFromLater" in err) == (3, True)


def test_a_store_that_is_damaged_makes_no_backup(gridmerit, home, chain, tmp_path):
    table = max(chain.ledger.glob("*.ldb"), key=lambda file: file.stat().st_size)
    raw = bytearray(table.read_bytes())
    raw[len(raw) // 2] ^= 0x40
    table.write_bytes(raw)
    code, _, err = gridmerit("node", "backup", home, tmp_path / "backup")
    assert (code, "StoreCorrupt" in err) == (7, True)
    assert list(tmp_path.glob("*backup*")) == []


# --- killed in the middle --------------------------------------------------------------------------


BACKUP_STEPS = [("gridmerit.care.backup.copy_file", 4), ("gridmerit.care.backup.save_manifest", 1)]
BACKUP_STEPS += [("node.system.store_copy.shutil.copyfile", 2), ("node.system.scratch.sync_path", 3)]


@pytest.mark.parametrize(("target", "number"), BACKUP_STEPS)
def test_a_backup_that_is_killed_is_not_there_and_the_next_one_clears_up(
    gridmerit, home, chain, tmp_path, killed_at, target, number
):
    assert killed_at(target, number, "node", "backup", home, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    make(gridmerit, home, tmp_path / "backup")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "home"]
    assert not list(chain.directory.glob(".copy-*"))
    assert verify_chain(chain, lambda _: None).is_sound


@pytest.mark.parametrize(
    ("target", "number"),
    [
        ("gridmerit.care.backup.copy_file", 3),
        ("node.system.scratch.sync_path", 4),
    ],
)
def test_a_restore_that_is_killed_is_not_there_and_the_next_one_clears_up(
    gridmerit, home, tmp_path, killed_at, target, number
):
    make(gridmerit, home, tmp_path / "backup")
    assert killed_at(target, number, "node", "restore", tmp_path / "backup", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert gridmerit("node", "restore", tmp_path / "backup", tmp_path / "back")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "backup", "home"]


# --- of a node that runs ----------------------------------------------------------------------------


async def test_backups_of_a_node_that_runs_are_each_of_one_moment(make_local, tmp_path):
    """Its log is turned over again and again meanwhile, as only a busy node's is."""
    local = make_local(1, period_ms=2_000)
    home = make_home(tmp_path / "h0", local.configs[0])
    filler = [(b"z" + bytes([number]) * 8, bytes(200_000)) for number in range(30)]
    async with local.running(0, is_sure=True) as [n0]:
        store = local.host(n0)._store
        heights = []
        for number in range(4):
            await local.until(lambda number=number: local.height(n0) > 3 * (number + 1))
            target = tmp_path / f"backup-{number}"
            work = asyncio.to_thread(
                back_up, open_place(home), target, version="1", has_keys=False, tell=lambda *_: None
            )
            task = asyncio.ensure_future(work)
            while not task.done():
                await asyncio.to_thread(store.write, filler, sync=False)
            heights.append((await task).chains[0].height)
    assert heights == sorted(heights)
    assert heights[0] > 3
    for number in range(4):
        with closing(LevelStore(tmp_path / f"backup-{number}" / "data" / CHAIN / "ledger")) as copy:
            copy.write([(key, None) for key, _ in copy.scan(b"z")])
        manifest = load_manifest(tmp_path / f"backup-{number}")
        [place] = open_place(tmp_path / f"backup-{number}").chains
        report = verify_chain(place, lambda _: None)
        assert (report.is_sound, report.findings.height) == (True, manifest.chains[0].height), report


@pytest.mark.parametrize("engine", ["poca", pytest.param("pbft", marks=pytest.mark.long)])
async def test_a_restored_node_signs_nothing_twice_whatever_its_owner_is_sure_of(make_local, tmp_path, engine):
    local = make_local(4, engine=engine, interval_ms=100, period_ms=4_000)
    home = make_home(tmp_path / "h0", local.configs[0])
    async with local.running(1, 2, 3, is_sure=False) as others:
        seen = []
        local.host(others[0])._subscribers.publish = seen.append
        async with local.running(0, is_sure=False) as [n0]:
            await local.until(lambda: local.host(n0).node.signing_state == "signs" and local.height(n0) > 4)
            manifest = await asyncio.to_thread(
                back_up, open_place(home), tmp_path / "backup", version="1", has_keys=False, tell=lambda *_: None
            )
            since = local.height(others[0])
            await local.until(lambda: local.height(others[0]) > since + 10)  # and it goes on signing
        signed_height = local.height(others[0])
        shutil.rmtree(local.configs[0].data_dir)
        restore(tmp_path / "backup", tmp_path / "back", lambda *_: None)
        restored = Runtime(load_config(tmp_path / "back" / "node.toml"), is_sure=True)
        assert manifest.chains[0].height < signed_height
        told = []
        node = local.host(restored).node
        local.host(restored)._subscribers.publish = told.append
        assert node.signing_state == "restored"
        await restored.start()
        local._running.append(restored)
        try:
            await local.until(lambda: "signing-signs" in [event[0] for event in told])
            assert node.chain.final_height >= node.signing_record.silent_until > signed_height
            record = node.signing_record
            await local.until(lambda: node.signing_record != record)  # it has sealed, or voted
        finally:
            local._running.remove(restored)
            await restored.stop()
    assert [event for event in seen + told if event[0] in ("equivocation", "finality-conflict")] == []
