"""A node's directory as real nodes have left it, and copies of it to be spoiled."""

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gridmerit.care.places import open_place
from ledger.store import LevelStore
from node.config import save_config
from tests.support.local_network import write_local
from tests.support.patience import PATIENCE_S

CHAIN = "jy1"
ROOT = Path(__file__).parents[3]


def make_home(directory: Path, config) -> Path:
    """A directory of its own for a node of a local network, whose files lie elsewhere; any ports are its own."""
    directory.mkdir(parents=True, exist_ok=True)
    ports = {name: getattr(config, name)._replace(port=0) for name in ("peer_listen", "api_listen")}
    config = config.model_copy(update=ports)
    save_config(config, directory / "node.toml")
    return directory


async def _grow(local):
    async with local.running(0, 1, is_sure=True) as runtimes:
        host = local.host(runtimes[0])
        transfers = [local.transfer(sequence) for sequence in range(4)]
        await host.submit(transfers)
        chain = host.node.chain

        def is_grown():
            places = [chain.find_transaction(transfer.id) for transfer in transfers]
            are_final = all(place and chain.get_header(place[0]).height <= chain.final_height for place in places)
            return are_final and chain.final_height > 4 and chain.head.height > 12

        await local.until(is_grown)


@pytest.fixture(scope="session")
def grown(tmp_path_factory):
    """A network of two nodes that have stopped, after some blocks with transactions."""
    local = write_local(tmp_path_factory.mktemp("grown"), 2, period_ms=2_000)
    asyncio.run(_grow(local))
    return local


@pytest.fixture
def home(grown, tmp_path):
    """A copy of the first node's directory, whose tables and log both hold rows."""
    data = tmp_path / "home" / "data"
    shutil.copytree(grown.configs[0].data_dir, data)
    LevelStore(data / CHAIN / "ledger").close()  # what was in the log is in a table now
    store = LevelStore(data / CHAIN / "ledger")
    store.write(list(store.scan(b"s")))
    store.close()
    return make_home(tmp_path / "home", grown.configs[0].model_copy(update={"data_dir": data}))


@pytest.fixture
def chain(home):
    """The place of the chain in that copy."""
    [place] = open_place(home).chains
    return place


_KILLED = """
import os, pkgutil, signal, sys

target, number, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
owner, name = target.rsplit(".", 1)
holder = pkgutil.resolve_name(owner)
original, calls = getattr(holder, name), []

def count(*args, **kwargs):
    calls.append(0)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

setattr(holder, name, count)
from gridmerit.main import run
sys.exit(run(words))
"""


@pytest.fixture
def killed_at():
    """Run a command in a process that SIGKILL ends at its `number`th call of `target`; whether it came to that."""

    def run(target: str, number: int, *words: object) -> bool:
        command = [sys.executable, "-c", _KILLED, target, str(number), *map(str, words)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S, cwd=ROOT)
        return done.returncode == -signal.SIGKILL

    return run
