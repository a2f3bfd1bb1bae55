"""Pages with sessions: every command line parses, and that of docs/run-a-network.md runs from top to end."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gridmerit import main as cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "run-a-network.md"
PAGES = (PAGE, ROOT / "README.md", ROOT / "docs" / "laboratory.md")
_CLEAN = "stop() { kill $(jobs -p) 2> /dev/null || true; }; trap stop EXIT; trap 'stop; exit 1' TERM"
PORTS = ("9109", "9209", "9119", "9219")


def read_session(page: Path) -> list[str]:
    """The indented lines, each with what goes on below it."""
    text = page.read_text(encoding="utf-8")
    return [line[4:] for line in re.sub(r"\\\n +", "", text).splitlines() if line.startswith("    ")]


def read_commands(page: Path) -> list[str]:
    """Command lines of gridmerit, of the session and in the text, without what the shell does with them."""
    found = [part for line in read_session(page) for part in re.split(r" && |; |\(|\)", line)]
    return [
        part.removeprefix("until ").strip() for part in found if part.removeprefix("until ").startswith("gridmerit ")
    ]


def parse(line: str) -> None:
    """As the shell and click take it, up to running it. Raises a usage error."""
    words = shlex.split(line, comments=True)
    for place, word in enumerate(words):
        if word in (">", "&", "|"):
            words = words[:place]
            break
    command: click.Command = cli.cli
    context = click.Context(command, info_name="gridmerit")
    words = words[1:]
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
        if not words and isinstance(command, click.Group):
            return
        if words[:1] == ["--help"]:
            return
    if "--help" not in words:
        command.parse_args(context, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_parses(page: Path) -> None:
    commands = read_commands(page)
    assert commands
    for line in commands:
        try:
            parse(line)
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}")


def test_a_line_that_would_not_run_is_found() -> None:
    with pytest.raises(click.UsageError):
        parse("gridmerit member admit --node mynet")
    with pytest.raises(click.UsageError):
        parse("gridmerit net upp mynet")


def test_the_page_names_metrics_and_events_that_there_are() -> None:
    from node.queries.chain import EVENT_FIELDS
    from node.queries.metrics import render_metrics

    text = PAGE.read_text(encoding="utf-8")
    source = Path(sys.modules[render_metrics.__module__].__file__ or "").read_text(encoding="utf-8")
    for name in re.findall(r"gridmerit_(\w+)", text):
        assert f'"{name}"' in source, name
    (kinds,) = re.findall(r"events --kind ([\w,-]*equivocation[\w,-]*)", text)
    assert set(kinds.split(",")) <= set(EVENT_FIELDS)


@pytest.mark.live
@pytest.mark.long
def test_the_session_runs(tmp_path: Path) -> None:
    """On two nodes, each line as it stands; every line that fails ends it."""
    script = "\n".join([_CLEAN, "set -em", *read_session(PAGE), "echo done"]).replace("--nodes 4", "--nodes 2")
    script = script.replace("--period-ms 60000", "--period-ms 12000")
    for port in PORTS:
        script = script.replace(f":{port}", f":{_find_free_port()}")
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "gridmerit"
    tool.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m gridmerit "$@"\n')
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}", "COLUMNS": "80"}
    bash = shutil.which("bash")
    assert bash is not None
    # With `set -m` it has jobs, as a person's shell has.
    session = subprocess.Popen(
        [bash, "-c", script], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = session.communicate(timeout=900)
    finally:
        session.terminate()
        session.wait(60)
        subprocess.run([tool, "net", "down", "mynet"], cwd=tmp_path, check=False, capture_output=True)
    assert session.returncode == 0, err[-3_000:]
    assert out.endswith("done\n")
    assert "100.00 yuan" in out
    assert "device" in out


def _find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
