"""The nonce search: every path of this machine against hashlib, and its promises on order, range and cancelling."""

import hashlib
import importlib.util
import sys
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus import seal

END = 1 << 64
ANY_HASH = (1 << 256) - 1
NO_HASH = 0  # no hash that anybody has seen
ROOT = bytes(range(32))
RARE_NONCE = 13835058062959510384  # its hash is below 2^218: one in 2^38 is
WAIT_S = 20  # for a thread to end; one that does not end is a failure, however slow the machine
SLICES = (1 << 10, 1 << 11, 1 << 14)  # of hashlib, portable, the others

every_path = pytest.mark.parametrize("path", seal.available_paths())

roots = st.binary(min_size=32, max_size=32)
# Anywhere, but often where a range crosses a multiple of 2^32 (the high word changes there) or ends at 2^64.
starts = st.one_of(
    st.integers(0, END - 1),
    st.builds(lambda high, offset: (high << 32) + offset, st.integers(1, 2**32 - 1), st.integers(-300, 300)),
    st.integers(END - 500, END - 1),
    st.integers(0, 100),
)


def compute_hash(root: bytes, nonce: int) -> int:
    return int.from_bytes(hashlib.sha256(root + nonce.to_bytes(8, "big")).digest(), "big")


def find_all(root: bytes, target: int, start: int, count: int) -> list[int]:
    """By the definition: the nonces of the range that meet the target."""
    return [nonce for nonce in range(start, start + count) if compute_hash(root, nonce) <= target]


def search_all(path: str, root: bytes, target: int, start: int, count: int) -> list[int]:
    """The same by searching on after each nonce found: every one must come, in order, and nothing else."""
    found: list[int] = []
    end = start + count
    while start < end and (nonce := seal.search(root, target, start=start, count=end - start, path=path)) is not None:
        found.append(nonce)
        start = nonce + 1
    return found


class Search(Thread):
    """A search in a thread of its own, so that one that never ends fails its test and does not hang it."""

    def __init__(self, **arguments):
        super().__init__(daemon=True)
        self.arguments, self.flag, self.results = arguments, memoryview(bytearray(1)), []
        self.start()

    def run(self):
        self.results.append(seal.search(ROOT, stop=self.flag, **self.arguments))

    def wait(self):
        """The search's result, in a list; nothing when it had to be cancelled."""
        self.join(WAIT_S)
        results = list(self.results)
        self.flag[0] = 1
        return results


# --- what is searched for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nonce", "digest"),
    [
        (0, "a9d6e500293a88bd38cbe213d07ab71f8cb2258552072a01bdf1c40be527f4d0"),
        (1, "6061c4386d7a1788ba52e2e8b2ee6fe6137644ec75a70bf7042cfd67a1e57bd3"),
        (0x0102030405060708, "9e6cef1d125d09ba0c8e74e4983c5562ef87c342caba99d8f2ee456bb7948e73"),
        (END - 1, "7e6bccb10cce44279b079b34dfaabbc54e7c72e2288162c2ab06163821a2373e"),
    ],
)  # as sha256sum prints it for those 40 bytes
def test_the_hash_is_sha256_of_root_and_big_endian_nonce(nonce, digest):
    assert seal.seal_hash(ROOT, nonce).hex() == digest


def test_native_paths_that_this_processor_has_all_pass_their_check():
    assert seal.broken_paths() == ()


def test_paths_are_fastest_first_and_hashlib_is_always_there():
    paths = seal.available_paths()
    assert paths[0] == seal.active_path()
    assert paths[-1] == "hashlib"
    assert (len(paths) > 1) == ("portable" in paths) == seal.NATIVE


# --- the same nonces as hashlib ------------------------------------------------------------------


@every_path
@settings(max_examples=60, deadline=None)
@given(root=roots, start=starts, count=st.integers(1, 400), bits=st.integers(0, 8))
def test_every_nonce_is_found_in_order(path, root, start, count, bits):
    count = min(count, END - start)
    target = ANY_HASH >> bits
    assert search_all(path, root, target, start, count) == find_all(root, target, start, count)


@every_path
@settings(max_examples=20, deadline=None)
@given(root=roots, start=starts, count=st.integers(400, 3000))
def test_rare_nonces_are_found_in_long_ranges(path, root, start, count):
    count = min(count, END - start)
    target = ANY_HASH // 1000
    assert search_all(path, root, target, start, count) == find_all(root, target, start, count)


@every_path
@pytest.mark.parametrize(
    "ahead", [0, 1, *(slices * size + i for size in SLICES for slices in (1, 2) for i in (-1, 0, 1))]
)
def test_no_nonce_is_lost_where_slices_meet(path, ahead):
    target, start = compute_hash(ROOT, RARE_NONCE), RARE_NONCE - ahead
    assert seal.search(ROOT, target, start=start, count=ahead + 1, path=path) == RARE_NONCE
    assert seal.search(ROOT, target, start=start, count=ahead + 100, path=path) == RARE_NONCE
    assert ahead == 0 or seal.search(ROOT, target, start=start, count=ahead, path=path) is None


@every_path
@settings(max_examples=100, deadline=None)
@given(root=roots, nonce=starts)
def test_the_target_itself_is_met_and_one_below_is_not(path, root, nonce):
    digest = compute_hash(root, nonce)
    assert seal.search(root, digest, start=nonce, count=1, path=path) == nonce
    assert seal.search(root, digest - 1, start=nonce, count=1, path=path) is None


@every_path
@settings(max_examples=30, deadline=None)
@given(root=roots, start=starts, count=st.integers(2, 300))
def test_a_near_miss_does_not_end_the_search(path, root, start, count):
    # The best nonce misses by one: its first digest word is that of the target, so the other seven must tell.
    count = min(count, END - start)
    hashes = sorted((compute_hash(root, nonce), nonce) for nonce in range(start, start + count))
    assert seal.search(root, hashes[0][0] - 1, start=start, count=count, path=path) is None
    assert seal.search(root, hashes[0][0], start=start, count=count, path=path) == hashes[0][1]


@every_path
def test_after_a_near_miss_the_search_goes_on_in_the_same_step(path):
    # Nonce 0 misses a target that shares its first 64 bits; a later one meets it.
    target = compute_hash(ROOT, 0) >> 192 << 192
    assert compute_hash(ROOT, 0) > target
    assert search_all(path, ROOT, target, 0, 200) == find_all(ROOT, target, 0, 200)


# --- ranges --------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("start", [0, 1, 2**32 - 1, 2**32, 2**63, END - 1])
def test_a_range_of_one(path, start):
    assert seal.search(ROOT, ANY_HASH, start=start, count=1, path=path) == start
    assert seal.search(ROOT, NO_HASH, start=start, count=1, path=path) is None


@every_path
@pytest.mark.parametrize("start", [0, 3, 17, 2**32 - 1, 2**32 - 31, END - 5000])
def test_the_easiest_target_takes_the_first_nonce_and_the_hardest_none(path, start):
    assert seal.search(ROOT, ANY_HASH, start=start, count=5000, path=path) == start
    assert seal.search(ROOT, NO_HASH, start=start, count=5000, path=path) is None


@every_path
def test_the_whole_range_of_nonces_is_one_search(path):
    target = ANY_HASH >> 8
    assert Search(target=target, count=END, path=path).wait() == find_all(ROOT, target, 0, 2000)[:1]


def test_the_fastest_path_is_the_default():
    target = ANY_HASH >> 10
    assert seal.search(ROOT, target, count=1 << 14) == seal.search(ROOT, target, count=1 << 14, path=seal.active_path())


# --- cancelling ----------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize("threads", [1, 2])
def test_a_flag_set_before_ends_the_search_at_once(path, threads):
    assert seal.search(ROOT, ANY_HASH, count=END, threads=threads, stop=bytearray(b"\1"), path=path) is None


@every_path
@pytest.mark.parametrize("threads", [1, 3])
def test_a_flag_set_by_another_thread_ends_the_search(path, threads):
    search = Search(target=NO_HASH, count=END, threads=threads, path=path)
    search.join(0.02)  # it should be under way, though the test holds when it is not yet
    assert not search.results  # 2^64 hashes take centuries
    search.flag[0] = 255
    assert search.wait() == [None]


@every_path
def test_a_flag_that_stays_zero_changes_nothing(path):
    stop = bytearray(1)
    assert seal.search(ROOT, ANY_HASH >> 8, count=5000, stop=stop, path=path) == seal.search(
        ROOT, ANY_HASH >> 8, count=5000, path=path
    )
    assert stop == bytearray(1)


# --- threads -------------------------------------------------------------------------------------


@every_path
@settings(max_examples=10, deadline=None)
@given(root=roots, start=starts, count=st.integers(1, 2000), threads=st.integers(2, 5))
def test_threads_find_one_of_the_nonces_or_none(path, root, start, count, threads):
    count, target = min(count, END - start), ANY_HASH // 700
    found = seal.search(root, target, start=start, count=count, threads=threads, path=path)
    assert found in (find_all(root, target, start, count) or [None])


@every_path
@pytest.mark.parametrize("threads", [2, 3, 40])
def test_no_nonce_is_lost_where_shares_meet(path, threads):
    target, count = compute_hash(ROOT, RARE_NONCE), 20
    for ahead in range(count):
        assert (
            seal.search(ROOT, target, start=RARE_NONCE - ahead, count=count, threads=threads, path=path) == RARE_NONCE
        )
    assert seal.search(ROOT, target, start=RARE_NONCE - count, count=count, threads=threads, path=path) is None


@every_path
def test_the_thread_that_finds_a_nonce_cancels_the_others(path):
    # Shares of 2^40 nonces; the last begins at one so rare that the others would take hours to finish.
    target, share = compute_hash(ROOT, RARE_NONCE), 1 << 40
    search = Search(target=target, start=RARE_NONCE - 3 * share, count=4 * share, threads=4, path=path)
    assert search.wait() == [RARE_NONCE]


# --- mistakes ------------------------------------------------------------------------------------


@every_path
@pytest.mark.parametrize(
    "wrong",
    [
        {"root": bytes(31)},
        {"root": bytes(33)},
        {"target": -1},
        {"target": 1 << 256},
        {"count": 0},
        {"count": -1},
        {"start": -1},
        {"start": END, "count": 1},
        {"start": END - 9, "count": 10},
        {"count": END + 1},
        {"threads": 0},
        {"stop": bytearray(0)},
        {"stop": bytearray(2)},
        {"stop": memoryview(b"\0")},
    ],
    ids=lambda wrong: str(wrong).split(" at 0x")[0],
)
def test_wrong_arguments_are_refused(path, wrong):
    arguments = {"root": ROOT, "target": ANY_HASH, "count": 1, "path": path} | wrong
    with pytest.raises(ValueError, match=r"\w"):
        seal.search(**arguments)


@pytest.mark.parametrize("path", ["mmx", "HASHLIB", "avx512 "])
def test_a_path_that_is_not_there_is_refused(path):
    with pytest.raises(ValueError, match="no path"):
        seal.search(ROOT, ANY_HASH, count=1, path=path)


# --- without the extension -----------------------------------------------------------------------


def test_without_the_extension_hashlib_takes_over(monkeypatch):
    monkeypatch.setitem(sys.modules, "consensus._seal", None)  # import then fails
    monkeypatch.delattr(sys.modules["consensus"], "_seal", raising=False)
    spec = importlib.util.spec_from_file_location("seal_without_extension", seal.__file__)
    slow = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(slow)
    assert not slow.NATIVE
    assert slow.available_paths() == ("hashlib",)
    assert slow.active_path() == "hashlib"
    assert slow.search(ROOT, ANY_HASH >> 8, count=5000) == find_all(ROOT, ANY_HASH >> 8, 0, 5000)[0]
    with pytest.raises(ValueError, match="no path"):
        slow.search(ROOT, ANY_HASH, count=1, path="portable")
