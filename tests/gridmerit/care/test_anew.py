"""Going back and starting anew: nothing final is left, nothing kept is lost, and nothing is signed twice."""

import json

import pytest

from gridmerit.care.places import open_place
from gridmerit.care.verification import verify_chain
from node.config import load_config
from node.driver.signing_file import SigningFile, read_record
from node.runtime import Runtime

pytestmark = pytest.mark.live


def look(chain):
    report = verify_chain(chain, lambda _: None)
    assert report.is_sound, report
    return report.findings


def record_of(chain):
    return read_record(chain.guard, chain.genesis.chain_id)


# --- rollback ------------------------------------------------------------------------------------


def test_blocks_above_the_final_one_are_taken_off_and_the_record_stays(gridmerit, home, chain):
    before, record = look(chain), record_of(chain)
    target = before.final_height
    code, out, _ = gridmerit("node", "rollback", home, "--chain", "jy1", "--to", target, "--json")
    assert (code, json.loads(out)["done"]) == (0, False)
    assert look(chain).height == before.height, "a dry run"
    assert "nothing has been done: the same with --yes" in gridmerit(
        "node", "rollback", home, "--chain", "jy1", "--blocks", before.height - target
    )[1]  # fmt: skip
    code, out, _ = gridmerit("node", "rollback", home, "--chain", "jy1", "--to", target, "--yes")
    assert (code, f"{before.height} → {target}" in out) == (0, True)
    assert look(chain).height == target
    after = record_of(chain)
    assert (after.parents, after.votes, after.height) == (record.parents, record.votes, min(record.height, target))


def test_what_is_final_is_never_left_and_nothing_lies_above_the_head(gridmerit, home, chain):
    before = look(chain)
    for options, error, exit_code in (
        (("--to", before.final_height - 1), "BelowFinality", 6),
        (("--to", before.height + 1), "AboveHead", 6),
        ((), "Usage", 2),
        (("--to", 1, "--blocks", 1), "Usage", 2),
    ):
        code, _, err = gridmerit("node", "rollback", home, "--chain", "jy1", *options, "--yes")
        assert (code, error in err) == (exit_code, True), err
    assert look(chain).height == before.height


def test_a_node_that_went_back_comes_forth_again(gridmerit, home, chain):
    height = look(chain).height
    assert gridmerit("node", "rollback", home, "--chain", "jy1", "--to", look(chain).final_height, "--yes")[0] == 0
    runtime = Runtime(load_config(home / "node.toml"), is_sure=True)  # it opens
    assert runtime.chains["jy1"].node.chain.head.height <= height
    runtime.chains["jy1"].close()


@pytest.mark.parametrize("target", ["node.driver.signing_file.SigningFile.save", "ledger.store.LevelStore.write"])
def test_a_rollback_that_is_killed_leaves_one_of_the_two(gridmerit, home, chain, killed_at, target):
    before = look(chain)
    assert before.height > before.final_height
    command = ("node", "rollback", home, "--chain", "jy1", "--to", before.final_height, "--yes")
    assert killed_at(target, 1, *command)
    assert look(chain).height in (before.height, before.final_height)
    assert gridmerit(*command)[0] == 0
    assert look(chain).height == before.final_height


# --- reset ---------------------------------------------------------------------------------------


def test_a_reset_says_first_what_it_would_delete_and_keeps_the_rest(gridmerit, home, chain):
    record, kept = record_of(chain), (home / "node.toml").read_bytes()
    code, out, _ = gridmerit("node", "reset", home)
    assert (code, str(chain.ledger) in out, "the same with --yes" in out) == (0, True, True)
    assert look(chain).height > 12
    code, out, _ = gridmerit("node", "reset", home, "--yes", "--json")
    assert (code, json.loads(out)["done"]) == (0, True)
    assert sorted(path.name for path in chain.directory.iterdir()) == ["LOCK", "guard"]
    assert (home / "node.toml").read_bytes() == kept
    assert record_of(chain) == record.after_restore()
    assert gridmerit("node", "reset", home, "--yes")[1] == "there is no ledger to delete\n"
    runtime = Runtime(load_config(home / "node.toml"), is_sure=True)
    try:
        assert runtime.chains["jy1"].node.signing_state == "restored"
        assert runtime.chains["jy1"].node.chain.head.height == 0
    finally:
        runtime.chains["jy1"].close()


@pytest.mark.parametrize(
    "target",
    ["node.driver.signing_file.SigningFile.save", "gridmerit.care.reset._remove", "gridmerit.care.reset.shutil.rmtree"],
)
def test_a_reset_that_is_killed_leaves_a_store_or_none_and_a_record(gridmerit, home, chain, killed_at, target):
    record = record_of(chain)
    assert killed_at(target, 1, "node", "reset", home, "--yes")
    assert record_of(chain) in (record, record.after_restore())
    if chain.ledger.exists():
        assert look(chain).height > 12
    else:
        assert record_of(chain).is_restored
    assert gridmerit("node", "reset", home, "--yes")[0] == 0
    assert sorted(path.name for path in chain.directory.iterdir()) == ["LOCK", "guard"]


@pytest.mark.parametrize("command", [("reset",), ("rollback", "--chain", "jy1", "--blocks", "0")])
def test_what_changes_a_directory_wants_the_node_stopped(gridmerit, home, chain, command):
    name, *options = command
    with SigningFile(chain.directory, chain.genesis.chain_id):
        code, _, err = gridmerit("node", name, home, *options, "--yes")
    assert (code, "StoreLocked" in err) == (9, True)
    assert look(open_place(home).chains[0]).height > 12
