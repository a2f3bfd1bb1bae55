"""Executors of batches: in this process, in processes of this machine, or on a Dask cluster. A driver."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from typing import Any

from simulation.errors import ClusterUnusable, MissingExtra

_PATIENCE_S = 10


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def open_executor(jobs: int, scheduler: str | None) -> Iterator[tuple[Executor, int]]:
    """An executor and how many batches it runs at once. `jobs` is for this machine alone.

    On the way out, whatever still runs is abandoned. Raises `MissingExtra` or `ClusterUnusable`.
    """
    if scheduler is not None:
        with _open_cluster(scheduler) as opened:
            yield opened
    elif jobs == 1:
        yield Here(), 1
    else:
        with _open_pool(jobs) as pool:
            yield pool, jobs


class Here(Executor):
    """Runs each call at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _open_pool(jobs: int) -> Iterator[Executor]:
    """Processes that are spawned, so that they share nothing with this one but what they are sent."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
            process.join()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([parent.sentinel])
    os._exit(1)


@contextmanager
def _open_cluster(address: str) -> Iterator[tuple[Executor, int]]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtra(what="--scheduler", package="distributed", extra="dask") from None
    try:
        client = Client(address, timeout=_PATIENCE_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterUnusable(address=address, detail=str(error) or type(error).__name__) from error
    try:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_S)
        except TimeoutError:
            raise ClusterUnusable(address=address, detail=f"it has had none for {_PATIENCE_S} s") from None
        with client.get_executor(pure=False, retries=0) as executor:
            yield executor, sum(client.ncores().values())
    finally:
        client.close()
