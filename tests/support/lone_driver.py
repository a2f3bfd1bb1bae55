"""A chain's driver on a directory of its own that reaches nobody."""

import asyncio
from contextlib import asynccontextmanager, closing

import pytest

from ledger.mempool import MempoolLimits
from ledger.store import LevelStore
from node.chain.pruning import ALL
from node.driver.chain_driver import ChainDriver
from node.driver.signing_file import SigningFile
from node.driver.subscribers import Subscribers
from node.system.tasks import Tasks
from tests.support.patience import PATIENCE_S


class Nowhere:
    """A driver's outside that reaches nobody."""

    def __getattr__(self, _name):
        return lambda *_args, **_options: None


def write_directory(lab, directory):
    """A lab's chain as it lies on disk, in tables."""
    with SigningFile(directory, lab.chain_id) as guard:
        guard.load(ledger_exists=False)
    with closing(LevelStore(directory / "ledger")) as store:
        store.write(list(lab.store.scan(b"")))
        store.compact(b"", b"\xff")


@asynccontextmanager
async def running(lab, directory, keep=ALL):
    """The driver, at work."""
    driver = ChainDriver(
        lab.genesis,
        directory,
        key=None,
        outside=Nowhere(),
        mempool_limits=MempoolLimits(),
        subscribers=Subscribers(max_subscribers=1, max_bytes=1_000),
        keep=keep,
    )
    tasks = Tasks(pytest.fail)
    tasks.start(driver.run(), name="chain")
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield driver
    finally:
        await driver.stop()
        await tasks.stop()
