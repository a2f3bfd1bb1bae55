"""A key's record of signing survives on disk or the node refuses to start; two processes never share a directory."""

import subprocess
import sys

import pytest

from consensus.signing_record import SigningRecord
from ledger.codec import encode
from ledger.errors import StoreFailed, StoreLocked, StoreTooNew
from ledger.hashing import tagged_hash
from node.driver.signing_file import SigningFile
from node.errors import GuardCorrupt, GuardMissing

CHAIN_ID = bytes(32)
RECORD = SigningRecord(height=7, parents=(b"\x01" * 32, b"\x02" * 32), votes=((3, b"\x03" * 32),))


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "data" / "jy1"


def load(directory, *, ledger_exists=True, chain_id=CHAIN_ID):
    with SigningFile(directory, chain_id) as guard:
        return guard.load(ledger_exists=ledger_exists)


def save(directory, record=RECORD):
    with SigningFile(directory, CHAIN_ID) as guard:
        guard.save(record)


def test_a_new_chain_has_an_empty_record_on_disk_before_its_ledger_exists(directory):
    assert load(directory, ledger_exists=False) == SigningRecord()
    assert load(directory, ledger_exists=True) == SigningRecord()


def test_the_record_saved_last_is_the_one_loaded(directory):
    save(directory, SigningRecord(height=6))
    save(directory)
    assert load(directory) == RECORD


def test_a_ledger_without_its_guard_is_refused(directory):
    with pytest.raises(GuardMissing):
        load(directory)


def test_any_damaged_byte_is_noticed(directory):
    save(directory)
    path = directory / "guard"
    good = path.read_bytes()
    for index in range(len(good)):
        path.write_bytes(good[:index] + bytes([good[index] ^ 1]) + good[index + 1 :])
        with pytest.raises(GuardCorrupt):
            load(directory)


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_a_truncated_file_is_noticed(directory, kept):
    save(directory)
    path = directory / "guard"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(GuardCorrupt):
        load(directory)


def test_the_guard_of_another_chain_is_refused(directory):
    save(directory)
    with pytest.raises(GuardCorrupt, match="another chain"):
        load(directory, chain_id=b"\x01" * 32)


def test_a_crash_while_saving_leaves_the_old_record(directory):
    save(directory)
    (directory / "guard.new").write_bytes(b"half of a rec")
    assert load(directory) == RECORD
    save(directory, SigningRecord(height=8))
    assert load(directory) == SigningRecord(height=8)


def test_a_record_that_cannot_be_written_is_an_error_with_a_name(directory):
    save(directory)
    (directory / "guard.new").mkdir()
    with pytest.raises(StoreFailed):
        save(directory, SigningRecord(height=8))
    assert load(directory) == RECORD


def test_a_second_holder_finds_the_directory_locked(directory):
    with SigningFile(directory, CHAIN_ID) as guard:
        with pytest.raises(StoreLocked):
            SigningFile(directory, CHAIN_ID)
        guard.save(RECORD)  # the attempt took nothing away from the first
    assert load(directory) == RECORD


def test_another_process_finds_the_directory_locked(directory):
    program = "import pathlib, sys, node.driver.signing_file as g; g.SigningFile(pathlib.Path(sys.argv[1]), bytes(32))"
    with SigningFile(directory, CHAIN_ID):
        ended = subprocess.run([sys.executable, "-c", program, directory], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "StoreLocked" in ended.stderr


@pytest.mark.parametrize("fields", [(2, CHAIN_ID, (), b"more"), (2, CHAIN_ID, RECORD.to_value()), (99,)])
def test_the_guard_of_a_later_release_is_refused_by_name(directory, fields):
    save(directory)
    raw = encode((*fields, tagged_hash("gridmerit/guard-file", encode(fields))))
    (directory / "guard").write_bytes(raw)
    with pytest.raises(StoreTooNew, match=r"guard has version \d+, and this release knows none above 1"):
        load(directory)
    assert (directory / "guard").read_bytes() == raw
