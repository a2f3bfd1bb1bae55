"""The sealing thread: what it finds is a seal, what has been replaced is never delivered, no chain starves another."""

import queue
import threading
import time
from contextlib import suppress
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.seal import seal_hash
from node.driver.seal_search import Allowance, DutyCycle, Sealer
from node.system import clock
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


# --- a limit on the nonces of an interval ------------------------------------------------------------

PER_S = 20_000
PORTION = PER_S // 20
RARE, RARE_NONCE = 2**241, 14_726  # the first nonce of ROOT_A that seals is beyond several portions


def test_a_search_with_a_limit_tries_no_more_than_time_allows(make_sealer, found):
    begin_ns = clock.monotonic_ns()
    make_sealer().start_job("a", job=1, root=ROOT_A, target=RARE, nonces_per_s=PER_S)
    *_, nonce = found.get(timeout=PATIENCE_S)
    allowed = (clock.monotonic_ns() - begin_ns) * PER_S // 10**9
    assert nonce == RARE_NONCE
    assert nonce < allowed + 2 * PORTION


def test_a_job_that_is_replaced_all_the_time_loses_nothing_of_its_allowance(make_sealer, found):
    sealer, deadline_s = make_sealer(), time.monotonic() + PATIENCE_S
    for job in count():
        sealer.start_job("a", job=job, root=ROOT_A, target=2**256 - 1, nonces_per_s=1)
        with suppress(queue.Empty):
            assert found.get(timeout=0.001)[0] == "a"
            return
        assert time.monotonic() < deadline_s, job


def test_a_chain_that_rests_does_not_hold_up_another(make_sealer, found):
    sealer = make_sealer()
    sealer.start_job("a", job=1, root=ROOT_A, target=EASY, nonces_per_s=1)
    for job in range(5):
        sealer.start_job("b", job=job, root=ROOT_B, target=EASY)
        assert found.get(timeout=PATIENCE_S)[:2] == ("b", job)
    assert sealer.view().jobs == ("a",)


def test_closing_ends_the_rest_of_a_chain(make_sealer):
    sealer = make_sealer()
    sealer.start_job("a", job=1, root=ROOT_A, target=IMPOSSIBLE, nonces_per_s=1)
    sealer.close()
    assert not any(thread.name == "sealer" for thread in threading.enumerate())


@given(st.integers(1, 10**9), st.lists(st.integers(0, 200_000_000), max_size=60))
def test_an_allowance_is_used_evenly_and_kept_to(per_s, waits_ns):
    """At any time the taker gets what is due; of a long absence two portions are left, and of no time nothing."""
    now_ns = first_ns = 10**12
    allowance, tried = Allowance(per_s, now_ns), 0
    portion = max(1, per_s // 20)
    for wait_ns in waits_ns:
        now_ns += max(wait_ns, allowance.compute_rest_ns(now_ns))
        count = allowance.take(now_ns)
        assert portion <= count <= 2 * portion + 1
        tried += count
    assert tried <= (now_ns - first_ns) * per_s // 10**9


@given(st.integers(1_000, 10**9), st.lists(st.integers(0, 40_000_000), min_size=1, max_size=60))
def test_who_is_never_long_away_gets_all_of_its_allowance(per_s, delays_ns):
    now_ns = first_ns = 10**12
    allowance, tried = Allowance(per_s, now_ns), 0
    for delay_ns in delays_ns:
        now_ns += allowance.compute_rest_ns(now_ns) + delay_ns
        tried += allowance.take(now_ns)
    assert tried >= (now_ns - first_ns) * per_s * 999 // 10**12 - len(delays_ns)
