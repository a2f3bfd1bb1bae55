"""The native state tree against the Python form that specifies it, down to the deepest branch, and against misuse."""

import gc
import importlib.util
import os
import subprocess
import sys
import tracemalloc
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from setuptools import Distribution, Extension

import ledger
from ledger import state, state_tree

ROOT = Path(__file__).parents[2]
native = pytest.importorskip("ledger._state_tree", reason="the extension was not built")

# Few keys, so that batches meet; values from none to several blocks of the hash.
KEYS = st.integers(0, 30).map(lambda number: b"key %d" % number * (number % 5 + 1))
VALUES = st.binary(max_size=3) | st.integers(0, 300).map(lambda size: (bytes(range(256)) * 2)[:size])
BATCHES = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=25)
# Each batch, and which of the versions so far it is applied to.
HISTORIES = st.lists(st.tuples(st.integers(0, 100), BATCHES), max_size=8)

# Where a key is its own path: what differs from one of these in few bits, wherever they are.
CENTRES = st.sampled_from([bytes(32), b"\xff" * 32, sha256(b"centre").digest()])
FLIPS = st.lists(st.one_of(st.integers(0, 255), st.integers(60, 68), st.integers(250, 255)), max_size=2)


def flip(centre: bytes, bits: list[int]) -> bytes:
    number = int.from_bytes(centre, "big")
    for bit in bits:
        number ^= 1 << (255 - bit)
    return number.to_bytes(32, "big")


DEEP_KEYS = st.builds(flip, CENTRES, FLIPS)
DEEP_HISTORIES = st.lists(
    st.tuples(st.integers(0, 100), st.lists(st.tuples(DEEP_KEYS, st.none() | st.binary(max_size=2)), max_size=12)),
    max_size=6,
)


def build_deep(folder, flags=()):
    """The extension built so that a key is its own path, and hashed in portable C whatever the processor has."""
    extension = Extension(
        "_state_tree",
        sources=sorted(map(str, (ROOT / "ledger/native").glob("*.c"))),
        define_macros=[("Py_LIMITED_API", "0x030B0000"), ("TREE_PATH_IS_KEY", None), ("SHA256_PORTABLE_ONLY", None)],
        extra_compile_args=flags,
        extra_link_args=flags,
        py_limited_api=True,
    )
    build = Distribution({"ext_modules": [extension]}).get_command_obj("build_ext")
    build.build_lib, build.build_temp = str(folder), str(folder / "objects")
    build.ensure_finalized()
    build.run()
    (library,) = folder.glob("_state_tree*")
    return library


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("_state_tree", build_deep(tmp_path_factory.mktemp("deep")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def list_beside(path):
    """The path before this one, this one, and the path after it."""
    number = int.from_bytes(path, "big")
    return [max(0, min(number + step, 2**256 - 1)).to_bytes(32, "big") for step in (-1, 0, 1)]


def check_history(tree, history):
    """Check that every version is what the specification says of it.

    Root, size, items; at each key's place and beside it, what is proved and what comes from there on.
    """
    versions = [(tree, state_tree.Tree())]
    keys = {key for _, batch in history for key, _ in batch} | {bytes(32)}
    paths = {beside for key in keys for beside in list_beside(state_tree.path_of(key))} | {bytes(32), b"\xff" * 32}
    for choice, batch in history:
        ours, theirs = versions[choice % len(versions)]
        versions.append((ours.apply(batch), theirs.apply(batch)))
        assert (versions[-1][0] is ours) == (versions[-1][1] is theirs)
    for ours, theirs in versions:
        assert (ours.root, len(ours), list(ours.items())) == (theirs.root, len(theirs), list(theirs.items()))
        for key in keys:
            assert ours.get(key) == theirs.get(key)
        for path in paths:
            assert ours.prove_path(path) == theirs.prove_path(path)
            assert list(ours.items_from(path)) == list(theirs.items_from(path))


@given(HISTORIES)
@settings(deadline=None)
def test_every_version_is_what_the_specification_says(history):
    check_history(native.Tree(), history)


@given(DEEP_HISTORIES)
@settings(deadline=None)
def test_down_to_the_deepest_branch(deep, history):
    assert deep.HASHING == "portable"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_tree, "path_of", lambda key: key)
        check_history(deep.Tree(), history)


@pytest.mark.parametrize("size", [1_000, 8_000])
def test_many_keys_in_any_order(size):
    pairs = [(sha256(b"%d" % number).digest()[: number % 33], b"v" * (number % 200)) for number in range(size)]
    ours, theirs = native.Tree().apply(iter(pairs)), state_tree.Tree().apply(pairs)
    assert ours.root == theirs.root == native.Tree().apply(reversed(list(theirs.items()))).root
    assert list(ours.items()) == list(theirs.items())
    assert len(ours) == len(theirs)
    half = [(key, None) for key, _ in pairs[::2]]
    assert ours.apply(half).root == theirs.apply(half).root
    assert ours.apply([(key, None) for key, _ in pairs]).root == bytes(32)


@pytest.mark.parametrize("size", [*range(130), 1 << 20])
def test_keys_and_values_of_every_length_are_hashed_right(deep, size):
    """The padding of a message takes another block from 56 bytes on."""
    data = bytes(size)
    assert native.Tree().apply([(data, data)]).root == state_tree.Tree().apply([(data, data)]).root
    value_hash = deep.Tree().apply([(bytes(32), data)]).prove_path(b"\x01" * 32)[1][1]
    assert value_hash == state_tree.value_hash_of(data)


def test_of_two_keys_with_one_path_the_later_stays(deep):
    """Such keys cannot be found; they do no harm all the same."""
    tree = deep.Tree().apply([(b"a" * 32 + b"one", b"1"), (b"a" * 32 + b"other", b"2")])
    assert list(tree.items()) == [(b"a" * 32 + b"other", b"2")]
    assert tree.apply([(b"a" * 32 + b"one", b"3")]).get(b"a" * 32 + b"one") == b"3"
    assert len(tree.apply([(b"a" * 32 + b"one", None)])) == 0


# --- misuse --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pairs",
    [
        None,
        5,
        [5],
        [b"ab"],
        [()],
        [(b"a",)],
        [(b"a", b"b", b"c")],
        [[b"a", b"b"]],
        [("a", b"b")],
        [(None, b"b")],
        [(bytearray(b"a"), b"b")],
        [(b"a", "b")],
        [(b"a", 5)],
        [(b"a", bytearray(b"b"))],
        [(b"fine", b"x"), (b"a", object())],
        {b"ab": b"c"},
    ],
)
def test_odd_changes_are_refused_and_change_nothing(pairs):
    tree = native.Tree().apply([(b"key", b"value")])
    with pytest.raises(TypeError):
        tree.apply(pairs)
    assert list(tree.items()) == [(b"key", b"value")]


@pytest.mark.parametrize("key", [None, 5, "key", bytearray(b"key"), memoryview(b"key")])
def test_odd_keys_are_refused(key):
    tree = native.Tree().apply([(b"key", b"value")])
    with pytest.raises(TypeError, match="a key is bytes"):
        tree.get(key)


@pytest.mark.parametrize("form", [native, state_tree], ids=["native", "specification"])
@pytest.mark.parametrize("ask", ["items_from", "prove_path"])
@pytest.mark.parametrize(
    ("path", "fault", "text"),
    [
        *[(path, TypeError, "a path is bytes") for path in (None, 5, "a" * 32, bytearray(32), memoryview(bytes(32)))],
        *[(bytes(size), ValueError, "a path is 32 bytes") for size in (0, 1, 31, 33, 64)],
    ],
)
def test_odd_paths_are_refused(form, ask, path, fault, text):
    """At once, and not where the walk is first asked for more."""
    tree = form.Tree().apply((b"%d" % number, b"") for number in range(10))
    with pytest.raises(fault, match=text):
        getattr(tree, ask)(path)


def test_trees_are_made_by_trees():
    for arguments, keywords in (((1,), {}), ((), {"root": b""})):
        with pytest.raises(TypeError):
            native.Tree(*arguments, **keywords)
    with pytest.raises(TypeError):
        type("Child", (native.Tree,), {})
    with pytest.raises(TypeError):
        type(native.Tree().items())()
    for name in ("root", "other"):
        with pytest.raises(AttributeError):
            setattr(native.Tree(), name, b"")
    with pytest.raises(TypeError):
        native.Tree.get = None


def test_a_fault_of_the_caller_is_the_callers():
    tree = native.Tree().apply([(b"key", b"value")])

    def break_off():
        yield b"other", b"value"
        assert tree.apply([(b"inner", b"")]).get(b"inner") == b"", "in the middle of another batch"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tree.apply(break_off())
    assert len(tree) == 1


@pytest.mark.parametrize("begin", [lambda tree: tree.items(), lambda tree: tree.items_from(bytes(32))])
def test_a_walk_outlives_its_tree(begin):
    walk = begin(native.Tree().apply((b"%d" % number, b"") for number in range(100)))
    next(walk)
    gc.collect()
    assert iter(walk) is walk
    assert len(list(walk)) == 99
    assert list(walk) == []


@pytest.mark.parametrize("form", [native, state_tree], ids=["native", "specification"])
def test_a_walk_holds_a_way_down_and_no_items(form):
    """A part of a state costs nothing of the rest."""
    tree = form.Tree().apply((b"%d" % number, bytes(100)) for number in range(5_000))
    tracemalloc.start()
    try:
        walks = [tree.items_from(bytes([first]) + bytes(31)) for first in range(0, 256, 16)]
        assert len({next(walk) for walk in walks}) == len(walks)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 5_000 * len(walks)


def test_threads_may_share_versions():
    first = native.Tree().apply((b"%d" % number, b"") for number in range(200))
    results = []

    def fork(name):
        tree = first
        for number in range(300):
            tree = tree.apply([(b"%d" % number, name), (b"%d" % (number - 10), None)])
            first.get(b"%d" % number)
        results.append((name, tree.root))

    threads = [Thread(target=fork, args=(b"%d" % (number % 2),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len(set(results)) == 2
    assert first.root == state_tree.Tree().apply([(b"%d" % number, b"") for number in range(200)]).root


PAIRS = [(b"%d" % number, bytes(2_000)) for number in range(50)]


def refuse(tree):
    with pytest.raises(TypeError):
        tree.apply([(b"key", bytes(100_000)), (b"other", 5)])


def break_off(tree):
    def pairs():
        yield b"key", bytes(100_000)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tree.apply(pairs())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda tree: tree.apply(PAIRS), id="no change"),
        pytest.param(lambda tree: tree.apply([(b"0", None), (b"1", b"fork")]), id="a fork"),
        pytest.param(lambda tree: tree.apply((key, bytes(1_999)) for key, _ in PAIRS), id="all new"),
        pytest.param(lambda tree: tree.apply((key, None) for key, _ in PAIRS), id="all gone"),
        pytest.param(refuse, id="refused"),
        pytest.param(break_off, id="broken off"),
        pytest.param(lambda tree: [tree.get(key) for key, _ in PAIRS], id="get"),
        pytest.param(lambda tree: [tree.prove_path(bytes([number]) * 32) for number in range(100)], id="prove"),
        pytest.param(lambda tree: next(tree.items()), id="a walk begun"),
        pytest.param(lambda tree: next(tree.items_from(bytes(32))), id="a walk begun at a path"),
        pytest.param(lambda tree: list(tree.items_from(bytes(32))), id="a walk from a path"),
        pytest.param(lambda tree: list(tree.items()), id="a walk"),
    ],
)
def test_nothing_is_kept_of_what_is_gone(act):
    """Each round makes and drops about 100 kB, so that one kept in two would show."""

    def held_bytes():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for number in range(300):
        if number == 100:
            before = held_bytes()
        act(native.Tree().apply(PAIRS))
    assert held_bytes() - before < 5_000_000


def find_sanitizer():
    """The library that must be loaded before all others, where the compiler has one."""
    try:
        told = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.strip() if Path(told.strip()).is_absolute() else None


@pytest.mark.skipif(find_sanitizer() is None, reason="the C compiler has no address sanitizer")
def test_nothing_is_read_or_written_that_is_not_the_trees(tmp_path):
    """Under the sanitizers of addresses and of undefined behaviour, with branches at every depth."""
    build_deep(tmp_path, ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    environment = {
        **os.environ,
        "LD_PRELOAD": find_sanitizer(),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter leaks; the trees' own leaks are looked for above
        "PYTHONMALLOC": "malloc",  # every object in a block of its own, whose bounds the sanitizer knows
    }
    command = [sys.executable, Path(__file__).with_name("drive_tree.py"), tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- without the extension -----------------------------------------------------------------------


def test_without_the_extension_the_specification_takes_over(monkeypatch):
    monkeypatch.setitem(sys.modules, "ledger._state_tree", None)  # import then fails
    monkeypatch.delattr(ledger, "_state_tree", raising=False)
    spec = importlib.util.spec_from_file_location("state_without_extension", state.__file__)
    slow = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, slow)  # its dataclasses look for it there
    spec.loader.exec_module(slow)
    assert (slow.NATIVE, slow.HASHING) == (False, "hashlib")
    assert state.NATIVE
    items = [(b"%d" % number, b"value") for number in range(100)]
    ours, theirs = slow.State.from_items(items), state.State.from_items(items)
    assert ours.root == theirs.root
    assert ours.prove(b"5").to_value() == theirs.prove(b"5").to_value()
    assert ours.apply({b"5": None}).root == theirs.apply({b"5": None}).root
