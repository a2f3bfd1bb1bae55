"""A running chain prunes its store on disk, as far as companions let it, and gives the space back beside its work."""

from contextlib import suppress
from random import Random

import pytest

from node.chain.pruning import Keep
from tests.support.lone_driver import running, write_directory

HEIGHT, PADDING = 300, 4_000
KEEP = Keep("periods", 12)


@pytest.fixture
def lab(make_lab, tmp_path):
    """A chain of 300 blocks, one in each period, and a copy of its store on disk."""
    lab = make_lab(ledger={"period_ms": 15_000})
    for number in range(HEIGHT):
        at = lab.chain.head.header.timestamp_ms + 15_000
        write = lab.sign("anna", "write", b"k", Random(number).randbytes(PADDING), sequence=number)
        lab.extend(write, timestamp_ms=at)
    lab.store.write(lab.chain.finalise(lab.chain.get(lab.chain.hash_at(HEIGHT - 2))))
    write_directory(lab, tmp_path)
    return lab


def size_of(directory):
    """Bytes of its store; of tables that go meanwhile, nothing."""
    total = 0
    for file in (directory / "ledger").iterdir():
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


async def test_the_directory_of_a_running_chain_shrinks(lab, tmp_path, monkeypatch):
    monkeypatch.setattr("node.chain.pruning._LEAST_GARBAGE_BYTES", 100_000)
    before = size_of(tmp_path)
    async with running(lab, tmp_path, KEEP) as driver:
        while size_of(tmp_path) > 0.7 * before:
            assert await driver.ask(lambda node: node.chain.head.height) == HEIGHT, "it answers meanwhile"
        assert await driver.ask(lambda node: node.chain.bodies_from) == HEIGHT - 128


async def test_a_companion_is_waited_for(lab, tmp_path):
    hold = tmp_path / "holds" / "archive"
    hold.parent.mkdir()
    for text, bodies_from in (("9", 9), ("no height", 9), ("20", 20)):
        hold.write_text(text)
        async with running(lab, tmp_path, KEEP) as driver:
            while await driver.ask(lambda node: node.pruner.held_from) is None:
                pass
            while await driver.ask(lambda node: node.chain.bodies_from) != bodies_from:
                pass
    hold.unlink()
    async with running(lab, tmp_path, KEEP) as driver:
        while await driver.ask(lambda node: node.chain.bodies_from) != HEIGHT - 128:
            pass


async def test_an_archive_prunes_nothing(lab, tmp_path):
    async with running(lab, tmp_path, Keep("all")) as driver:
        assert await driver.ask(lambda node: node.pruner.begin(0)) == []
        assert await driver.ask(lambda node: node.chain.bodies_from) == 1
