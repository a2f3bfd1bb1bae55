"""The sealing thread: what it finds is a seal, what has been replaced is never delivered, no chain starves another."""

import queue
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.seal import seal_hash
from node.driver.seal_search import DutyCycle, Sealer
from tests.support.patience import PATIENCE_S

ROOT_A, ROOT_B = b"\x0a" * 32, b"\x0b" * 32
EASY, IMPOSSIBLE = 2**244, 0


@pytest.fixture
def found():
    return queue.Queue()


@pytest.fixture
def make_sealer(found):
    sealers = []

    def make(threads=1, core_share_ppm=1_000_000):
        sealer = Sealer(
            threads=threads,
            core_share_ppm=core_share_ppm,
            on_found=lambda *result: found.put(result),
            on_failure=found.put,
        )
        sealers.append(sealer)
        sealer.start()
        return sealer

    yield make
    for sealer in sealers:
        sealer.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_nonce_found_meets_the_target(make_sealer, found, threads):
    make_sealer(threads).start_job("a", job=1, root=ROOT_A, target=EASY)
    chain, job, nonce = found.get(timeout=PATIENCE_S)
    assert (chain, job) == ("a", 1)
    assert int.from_bytes(seal_hash(ROOT_A, nonce), "big") <= EASY


def test_a_found_job_is_over(make_sealer, found):
    sealer = make_sealer()
    sealer.start_job("a", job=1, root=ROOT_A, target=EASY)
    found.get(timeout=PATIENCE_S)
    assert sealer.view().jobs == ()


def test_a_new_job_replaces_the_one_at_work(make_sealer, found):
    sealer = make_sealer()
    for job in range(50):
        sealer.start_job("a", job=job, root=ROOT_A, target=IMPOSSIBLE)
    sealer.start_job("a", job=50, root=ROOT_A, target=EASY)
    assert found.get(timeout=PATIENCE_S)[:2] == ("a", 50)


def test_a_chain_that_finds_nothing_does_not_hold_up_another(make_sealer, found):
    sealer = make_sealer()
    sealer.start_job("a", job=1, root=ROOT_A, target=IMPOSSIBLE)
    for job in range(5):
        sealer.start_job("b", job=job, root=ROOT_B, target=EASY)
        assert found.get(timeout=PATIENCE_S)[:2] == ("b", job)
    assert sealer.view().jobs == ("a",)


def test_a_stopped_job_delivers_nothing(make_sealer, found):
    sealer = make_sealer()
    sealer.start_job("a", job=1, root=ROOT_A, target=IMPOSSIBLE)
    sealer.stop_job("a")
    sealer.start_job("b", job=1, root=ROOT_B, target=EASY)
    assert found.get(timeout=PATIENCE_S)[0] == "b"
    assert found.empty()
    assert sealer.view().jobs == ()


def test_closing_ends_a_search_and_a_rest(make_sealer):
    searching, resting = make_sealer(), make_sealer(core_share_ppm=1)
    for sealer in (searching, resting):
        sealer.start_job("a", job=1, root=ROOT_A, target=IMPOSSIBLE)
        sealer.close()
    assert not any(thread.name == "sealer" for thread in threading.enumerate())


def test_without_threads_nothing_is_searched(make_sealer):
    sealer = make_sealer(threads=0)
    sealer.start_job("a", job=1, root=ROOT_A, target=EASY)
    assert not any(thread.name == "sealer" for thread in threading.enumerate())


def test_a_bug_in_the_thread_is_reported(make_sealer, found):
    make_sealer().start_job("a", job=1, root=b"short", target=EASY)
    assert isinstance(found.get(timeout=PATIENCE_S), ValueError)


slices = st.lists(st.tuples(st.integers(0, 5_000_000), st.integers(0, 50_000_000)), min_size=1, max_size=50)


@given(slices, st.integers(1, 1_000_000))
def test_work_keeps_to_its_share_of_the_time(work, share_ppm):
    """Each slice takes `spent` ns of CPU and some time on top of it, for which others have the core."""
    now_ns = first_ns = 10**12
    duty, worked_ns = DutyCycle(share_ppm, now_ns), 0
    for spent_ns, waited_ns in work:
        now_ns += spent_ns + waited_ns
        worked_ns += spent_ns
        now_ns += duty.compute_rest_ns(spent_ns, now_ns)
    allowance_ns = 4_000_000 + 2 * len(work)  # what may be made up for, and rounding
    assert worked_ns <= (now_ns - first_ns) * share_ppm // 1_000_000 + allowance_ns
