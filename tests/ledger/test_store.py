"""One contract for both stores; then what only a disk can do: crash, be locked by another, and rot."""

import shutil
import signal
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from ledger.errors import StoreCorrupt, StoreError, StoreFailed, StoreLocked
from ledger.store import WRITE_BUFFER_BYTES, KeyValue, LevelStore, MemoryStore, plyvel
from node.errors import RolledBack

KEYS = st.binary(max_size=2) | st.sampled_from([b"\xff", b"\xff\xff", b"\xff\xff\x00", b"block", b"block1"])
BATCHES = st.lists(st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=8), max_size=8)


def run_child(program: str, *arguments: object) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


# --- the binding ---------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
BINDINGS = ("plyvel", "plyvel-next")


def choose_bindings(requirements: list[str], python: str) -> list[str]:
    """Those of them that are installed for a version of Python."""
    found = [requirement for requirement in map(Requirement, requirements) if requirement.name in BINDINGS]
    return [
        item.name
        for item in found
        if item.marker is None or item.marker.evaluate({"python_version": python, "python_full_version": f"{python}.1"})
    ]


@pytest.mark.parametrize(
    ("python", "binding"),
    [("3.11", "plyvel"), ("3.12", "plyvel"), ("3.13", "plyvel-next"), ("3.14", "plyvel-next")],
)
def test_every_python_has_one_binding_to_leveldb(python: str, binding: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert choose_bindings(project["dependencies"], python) == [binding]
    for lock in ("base.lock", "dev.lock"):
        lines = (ROOT / "requirements" / lock).read_text().splitlines()
        pinned = [line.removesuffix("\\").strip() for line in lines if line.startswith(BINDINGS)]
        assert choose_bindings(pinned, python) == [binding]


def test_the_store_speaks_to_the_one_that_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert choose_bindings(project["dependencies"], python) == [plyvel.__name__.replace("_", "-")]


def test_the_lock_files_name_no_registry() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        assert "://" not in lock.read_text()


# --- the contract --------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "level"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValue]:
    opened: KeyValue = MemoryStore() if request.param == "memory" else LevelStore(tmp_path / "store")
    yield opened
    opened.close()


def test_what_was_written_is_read(store: KeyValue) -> None:
    assert store.get(b"a") is None
    store.write([(b"a", b"1"), (b"", b"empty key"), (b"empty value", b"")])
    assert store.get(b"a") == b"1"
    assert store.get(b"") == b"empty key"
    assert store.get(b"empty value") == b""
    store.write([(b"a", None), (b"never there", None)], sync=False)
    assert store.get(b"a") is None


def test_within_a_batch_the_last_change_to_a_key_wins(store: KeyValue) -> None:
    store.write([(b"a", b"1"), (b"a", None), (b"b", None), (b"b", b"2"), (b"c", b"1"), (b"c", b"2")])
    assert list(store.scan(b"")) == [(b"b", b"2"), (b"c", b"2")]


def test_a_scan_is_sorted_and_keeps_to_its_prefix(store: KeyValue) -> None:
    keys = [b"b", b"a", b"ab", b"a\xff", b"a\xff\xff", b"\xff", b"\xff\xff", b"", b"aa"]
    store.write([(key, b"value of " + key) for key in keys])
    assert [key for key, _ in store.scan(b"")] == sorted(keys)
    assert [key for key, _ in store.scan(b"a")] == [b"a", b"aa", b"ab", b"a\xff", b"a\xff\xff"]
    assert [key for key, _ in store.scan(b"a\xff")] == [b"a\xff", b"a\xff\xff"]
    assert list(store.scan(b"\xff\xff")) == [(b"\xff\xff", b"value of \xff\xff")]
    assert list(store.scan(b"none")) == []


def test_a_scan_sees_the_store_as_it_was(store: KeyValue) -> None:
    store.write([(b"a", b"1"), (b"b", b"1")])
    scan = store.scan(b"")
    store.write([(b"a", b"2"), (b"c", b"2")])
    assert next(scan) == (b"a", b"1")
    store.write([(b"b", None)])
    assert list(scan) == [(b"b", b"1")]


def test_closing_twice_is_harmless(store: KeyValue) -> None:
    store.write([(b"a", b"1")])
    store.close()
    store.close()


@given(BATCHES, KEYS)
@settings(deadline=None, max_examples=200)
def test_memory_acts_as_a_dictionary(batches: list[list[tuple[bytes, bytes | None]]], prefix: bytes) -> None:
    check_against_a_dictionary(MemoryStore(), batches, prefix)


@given(BATCHES, KEYS)
@settings(deadline=None, max_examples=40)
def test_level_acts_as_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[bytes, bytes | None]]], prefix: bytes
) -> None:
    path = tmp_path_factory.mktemp("store")
    store = LevelStore(path)
    contents = check_against_a_dictionary(store, batches, prefix)
    store.close()
    reopened = LevelStore(path)
    assert dict(reopened.scan(b"")) == contents
    reopened.close()


def check_against_a_dictionary(
    store: KeyValue, batches: list[list[tuple[bytes, bytes | None]]], prefix: bytes
) -> dict[bytes, bytes]:
    contents: dict[bytes, bytes] = {}
    for batch in batches:
        store.write(batch, sync=False)
        for key, value in batch:
            if value is None:
                contents.pop(key, None)
            else:
                contents[key] = value
    assert list(store.scan(b"")) == sorted(contents.items())
    assert list(store.scan(prefix)) == sorted(item for item in contents.items() if item[0].startswith(prefix))
    assert store.get(prefix) == contents.get(prefix)
    return contents


# --- crashes -------------------------------------------------------------------------------------

WRITER = """
    import sys
    from ledger.store import LevelStore
    store = LevelStore(sys.argv[1])
    number = int(store.get(b"key 0") or 0)
    while True:
        number += 1
        store.write([(b"key %d" % key, b"%d" % number + b" " * 5000) for key in range(100)])
        print(number, flush=True)
"""


def test_a_killed_writer_leaves_no_half_batch_and_loses_none_it_confirmed(tmp_path: Path) -> None:
    for lines_before_the_kill in (1, 2, 3, 1, 5, 2, 4, 1, 3, 2):
        child = run_child(WRITER, tmp_path)
        assert child.stdout is not None
        confirmed = [int(child.stdout.readline()) for _ in range(lines_before_the_kill)]
        child.send_signal(signal.SIGKILL)
        confirmed += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        child.wait()
        store = LevelStore(tmp_path)
        values = {value for _, value in store.scan(b"key ")}
        store.close()
        assert len(values) == 1, "every key is from the same batch"
        assert int(values.pop()) >= confirmed[-1]


def test_a_refused_batch_writes_nothing(tmp_path: Path) -> None:
    store = LevelStore(tmp_path)
    with pytest.raises(TypeError):
        store.write([(b"a", b"1"), (b"b", "text")])  # type: ignore[list-item]
    assert list(store.scan(b"")) == []
    store.close()


# --- one owner -----------------------------------------------------------------------------------

OPENER = """
    import sys
    from ledger.errors import StoreLocked
    from ledger.store import LevelStore
    try:
        LevelStore(sys.argv[1]).close()
    except StoreLocked as error:
        print(error.exit_code, error)
    else:
        print("opened")
"""


def open_elsewhere(path: Path) -> str:
    return run_child(OPENER, path).communicate()[0].strip()


def test_a_store_has_one_owner(tmp_path: Path) -> None:
    store = LevelStore(tmp_path)
    locked = f"9 the store {tmp_path} is in use by another process"
    assert open_elsewhere(tmp_path) == locked
    with pytest.raises(StoreLocked):
        LevelStore(tmp_path)
    assert open_elsewhere(tmp_path) == locked, "failing to open it twice gives it to nobody"
    store.write([(b"a", b"1")])
    store.close()
    assert open_elsewhere(tmp_path) == "opened"


def test_a_store_that_failed_to_open_is_not_locked(tmp_path: Path) -> None:
    LevelStore(tmp_path).close()
    current = (tmp_path / "CURRENT").read_bytes()
    (tmp_path / "CURRENT").write_bytes(b"nonsense")
    for _ in range(2):
        with pytest.raises(StoreCorrupt):
            LevelStore(tmp_path)
    (tmp_path / "CURRENT").write_bytes(current)
    LevelStore(tmp_path).close()


def test_rows_fill_a_buffer_before_they_become_a_table(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "store")
    begun = sorted(file.name for file in (tmp_path / "store").glob("*.log"))
    for number in range(WRITE_BUFFER_BYTES * 3 // 4 // 1_000_000):
        store.write([(number.to_bytes(4, "big"), bytes(1_000_000))], sync=False)
    assert sorted(file.name for file in (tmp_path / "store").glob("*.log")) == begun
    store.close()


def test_a_path_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed, match="file"):
        LevelStore(tmp_path / "file" / "store")


# --- rot -----------------------------------------------------------------------------------------

VERSIONS = 6


def value_of(key: int, version: int) -> bytes:
    """1 280 bytes that do not compress, so that eight of them fill three blocks of a table."""
    return b"".join(sha256(b"%d/%d/%d" % (key, version, part)).digest() for part in range(40))


def contents_at(version: int) -> list[tuple[bytes, bytes]]:
    return [(b"key %d" % key, value_of(key, version)) for key in range(8)] if version else []


@pytest.fixture(scope="module", params=["log", "ldb"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store whose data, some versions of eight keys, lies in its log or in a table."""
    path: Path = tmp_path_factory.mktemp("written")
    store = LevelStore(path)
    for version in range(1, VERSIONS + 1):
        store.write(contents_at(version), sync=False)
    store.close()
    if request.param == "ldb":
        database = plyvel.DB(str(path))
        database.compact_range()
        database.close()
    (data,) = [file for file in path.glob(f"*.{request.param}") if file.stat().st_size > 1000]
    (path / "DATA").symlink_to(data.name)
    return path


def flip(byte: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:byte] + bytes([data[byte] ^ 0x10]) + data[byte + 1 :]


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:size]


def damage(written: Path, path: Path, file: str, change: Callable[[bytes], bytes]) -> LevelStore:
    """Open a copy of the store in which one file was changed."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(written, path, symlinks=True)
    target = (path / file).resolve()
    target.write_bytes(change(target.read_bytes()))
    return LevelStore(path)


def test_a_flipped_bit_is_reported_and_never_read_as_data(written: Path, tmp_path: Path) -> None:
    """A log whose record lengths are hit may end early, as if cut short: whole batches, none of them odd."""
    size = (written / "DATA").stat().st_size
    versions = [contents_at(version) for version in range(VERSIONS + 1)]
    reported = 0
    positions = range(3, size, size // 60)
    for position in positions:
        try:
            store = damage(written, tmp_path / "copy", "DATA", flip(position))
        except StoreCorrupt:
            reported += 1
            continue
        try:
            assert list(store.scan(b"")) in versions
            assert [(key, store.get(key)) for key, _ in versions[-1]] in versions[1:]
        except StoreCorrupt:
            reported += 1
        finally:
            store.close()
    assert reported >= 0.8 * len(positions)


def test_a_log_cut_short_opens_at_an_earlier_whole_batch(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "store")
    for version in range(1, VERSIONS + 1):
        store.write(contents_at(version), sync=False)
    store.close()
    (log,) = (tmp_path / "store").glob("*.log")
    versions = [contents_at(version) for version in range(VERSIONS + 1)]
    seen = set()
    for size in range(0, log.stat().st_size, 1357):
        store = damage(tmp_path / "store", tmp_path / "copy", log.name, cut(size))
        seen.add(versions.index(list(store.scan(b""))))
        store.close()
    assert seen == {*range(VERSIONS)}


@pytest.mark.parametrize("file", ["CURRENT", "MANIFEST-*"])
def test_damaged_bookkeeping_is_reported(written: Path, tmp_path: Path, file: str) -> None:
    (name,) = [path.name for path in written.glob(file)]
    for position in range(0, (written / name).stat().st_size, 7):
        with pytest.raises(StoreCorrupt):
            damage(written, tmp_path / "copy", name, flip(position))


def test_data_without_its_current_file_is_not_taken_for_a_new_store(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "CURRENT").unlink()
    with pytest.raises(StoreCorrupt, match="CURRENT"):
        LevelStore(tmp_path / "copy")


@pytest.mark.parametrize("written", ["ldb"], indirect=True)
def test_a_missing_table_is_reported(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "copy", symlinks=True)
    (tmp_path / "copy" / "DATA").resolve().unlink()
    with pytest.raises(StoreCorrupt):
        LevelStore(tmp_path / "copy")


def test_store_errors_say_what_to_know() -> None:
    assert (StoreLocked.exit_code, StoreCorrupt.exit_code, StoreFailed.exit_code) == (9, 7, 4)
    error = RolledBack(actual=7, expected=9)
    assert isinstance(error, StoreError)
    assert error.exit_code == 6
    assert str(error) == ("the store's head is at height 7, but this key has already sealed or voted at height 9")


def test_a_store_that_is_closed_fails_by_name(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "store")
    store.close()
    with pytest.raises(StoreFailed):
        store.get(b"a")
    with pytest.raises(StoreFailed):
        store.write([(b"a", b"1")])
    with pytest.raises(StoreFailed):
        next(store.scan(b""))


def test_a_directory_that_cannot_be_listed_fails_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(StoreFailed, match="Permission denied"):
        LevelStore(tmp_path / "store")
