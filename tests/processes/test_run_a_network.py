"""The session of docs/run-a-network.md runs from top to end."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_lines import read_session

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "run-a-network.md"
_CLEAN = "stop() { kill $(jobs -p) 2> /dev/null || true; }; trap stop EXIT; trap 'stop; exit 1' TERM"
PORTS = ("9109", "9209", "9119", "9219")


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
    script = "\n".join([_CLEAN, "set -em", *read_session(PAGE.read_text(encoding="utf-8")), "echo done"]).replace(
        "--nodes 4", "--nodes 2"
    )
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
