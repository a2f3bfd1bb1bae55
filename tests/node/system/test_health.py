"""The health check of a container: a node that answers, a file that is fresh."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from node.system.health import find_address, is_answering, is_fresh
from tests.support.local_network import choose_loopback

ROOT = Path(__file__).parents[3]


async def test_a_node_is_well_when_it_answers_with_200() -> None:
    for status, expected in (("200 OK", True), ("500 Internal Server Error", False)):

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str = status) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.0 {line}\r\n\r\n{{}}".encode())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            assert await asyncio.to_thread(is_answering, address) is expected
    assert not await asyncio.to_thread(is_answering, address)


def test_a_node_that_says_nothing_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not is_answering(silent.getsockname(), patience_s=0.05)


def test_a_file_is_fresh_for_a_while(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    assert not is_fresh(str(file))
    file.touch()
    assert is_fresh(str(file))
    os.utime(file, (1, 1))
    assert not is_fresh(str(file))
    os.utime(file, (2**32, 2**32))
    assert not is_fresh(str(file)), "touched under a clock that has been set back since"


# --- which node it is ----------------------------------------------------------------------------


def write_node(directory: Path, api_listen: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "node.toml").write_text(f'data_dir = "data"\napi_listen = "{api_listen}"\n', encoding="utf-8-sig")
    return directory


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("0.0.0.0:9200", "127.0.0.1:9200"),
        ("[::]:9300", "[::1]:9300"),
        ("[::1]:9301", "[::1]:9301"),
        ("10.1.2.3:7", "10.1.2.3:7"),
    ],
)
def test_it_asks_where_node_toml_says(tmp_path: Path, listens: str, asked: str) -> None:
    home = write_node(tmp_path / "node", listens)
    assert str(find_address(str(home))) == str(find_address(str(home / "node.toml"))) == asked


def test_without_a_word_it_is_the_node_of_this_directory_or_the_usual_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(find_address(None)) == "127.0.0.1:9200"
    write_node(tmp_path, "[::1]:9301")
    assert str(find_address(None)) == "[::1]:9301"


def check_health(**environment: str) -> tuple[int, str]:
    command = [sys.executable, "-P", "-m", "node.system.health"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


def test_what_is_wrong_is_said_and_is_no_health(tmp_path: Path) -> None:
    code, said = check_health(GRIDMERIT_NODE=str(tmp_path))
    assert (code, "node.toml" in said, "No such file" in said) == (1, True, True)
    code, said = check_health(GRIDMERIT_NODE=str(write_node(tmp_path, "::1")))
    assert (code, "an IPv6 address in brackets" in said) == (1, True)
    with socket.socket(socket.AF_INET6 if choose_loopback() == "::1" else socket.AF_INET) as closed:
        closed.bind((choose_loopback(), 0))
        port = closed.getsockname()[1]
        code, said = check_health(GRIDMERIT_NODE=str(write_node(tmp_path, f"[::1]:{port}")))
    assert (code, said) == (1, f"[::1]:{port} does not answer")
