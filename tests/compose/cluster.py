"""A container engine, and the cluster of docker-compose.yml in it, as the test drives them. Standard library alone.

Nodes are asked from inside their own container, and no traffic of the test leaves the cluster's network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCAL_BASE = "python:3.11-slim-bookworm"
IMAGE = "gridmerit-test"
PROJECT = "gridmerit-test"
ORGANISATIONS = ("dispatch", "grid", "pv-101", "wind-122")
PLAYERS = ("homes-1", "homes-2", "homes-3")
LOADER = "homes-3"  # whose key the load signs with, so that its agent has to leave it alone
NODES = (*ORGANISATIONS, *PLAYERS)
TRADING, SCHEDULING, CREDIT = "jy1", "du1", "lh1"
CHAINS = (TRADING, SCHEDULING, CREDIT)
_PROBE = """
import http.client, json, sys
answers = []
for path in json.load(sys.stdin):
    link = http.client.HTTPConnection("127.0.0.1", 9200, timeout=10)
    link.request("GET", path)
    reply = link.getresponse()
    body = reply.read()
    answers.append(json.loads(body) if reply.status == 200 else None)
    link.close()
print(json.dumps(answers))
"""


class TestFailed(Exception):
    """The cluster does not do what it should; the message is for whoever runs the test."""


class NoAnswer(TestFailed):
    """A node does not answer now; it may later."""


def run(*words: str, feed: str | None = None, check: bool = True, quiet: bool = True, timeout_s: float = 60) -> str:
    """A command's stdout. Raises `TestFailed` where it fails."""
    try:
        done = subprocess.run(
            words, input=feed, capture_output=quiet, text=True, check=False, timeout=timeout_s, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        raise TestFailed(f"no end after {timeout_s:.0f} s: {' '.join(words[:6])}") from None
    if check and done.returncode:
        raise TestFailed(f"{' '.join(words[:8])}: {(done.stderr or '').strip()[-800:] or f'exit {done.returncode}'}")
    return done.stdout or ""


def find_engine() -> tuple[str, ...]:
    """The compose command of an engine that runs. DOCKER_ENGINE may name a program that installs and starts one.

    Raises `LookupError` with the reason where none can be had.
    """
    starter = os.environ.get("DOCKER_ENGINE")
    if starter:
        print(f"engine: {starter}", flush=True)
        if subprocess.run([starter], stdin=subprocess.DEVNULL, check=False).returncode:
            raise LookupError(f"{starter} could not start one")
    if shutil.which("docker") is None:
        raise LookupError("there is no docker here, and DOCKER_ENGINE names no program that installs it")
    if not _works("docker", "info"):
        raise LookupError("docker is here, but its engine does not answer")
    find_base()
    for words in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(words[0]) and _works(*words, "version"):
            return words
    raise LookupError("docker is here, but neither `docker compose` nor `docker-compose`")


def find_base() -> str:
    """The image to build on: the one that the Dockerfile names, or, where no registry has it, the one here by its tag.

    Raises `LookupError` where there is neither.
    """
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    pinned = next(line.removeprefix("ARG BASE=") for line in dockerfile.splitlines() if line.startswith("ARG BASE="))
    if _works("docker", "image", "inspect", pinned) or _works("docker", "pull", pinned):
        return pinned
    if _works("docker", "image", "inspect", LOCAL_BASE):
        return LOCAL_BASE
    raise LookupError(f"docker is here, but neither {pinned} nor {LOCAL_BASE}, and no registry has it")


def _works(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def chains_of(node: str) -> tuple[str, ...]:
    return CHAINS if node in ORGANISATIONS else (TRADING,)


def hosts_of(chain: str, nodes: Iterable[str] = NODES) -> list[str]:
    return [node for node in nodes if chain in chains_of(node)]


@dataclass
class Cluster:
    """The containers of the compose file, by their services' names."""

    compose: tuple[str, ...]
    period_ms: int
    _ids: dict[str, str] = field(default_factory=dict)

    # --- life ------------------------------------------------------------------------------------

    def build(self) -> None:
        options = ("--network", "host", "--build-arg", f"BASE={find_base()}", "--quiet", "--tag", IMAGE)
        run("docker", "build", *options, ".", timeout_s=1_200)

    def up(self) -> None:
        self._compose("up", "--detach", timeout_s=300)
        self._ids = {name: self._compose("ps", "--quiet", name).strip() for name in (*NODES, "agents")}

    def down(self) -> None:
        """Everything the test made goes, but the image."""
        for name in (*NODES, "agents"):
            if name in self._ids:
                run("docker", "unpause", self._ids[name], check=False)
        self._compose("down", "--volumes", "--timeout", "5", timeout_s=180, check=False)
        run("docker", "network", "rm", self.apart, check=False)

    def _compose(self, *words: str, check: bool = True, timeout_s: float = 60) -> str:
        environment = {"GRIDMERIT_IMAGE": IMAGE, "GRIDMERIT_PERIOD_MS": str(self.period_ms), "GRIDMERIT_BUT": LOADER}
        os.environ.update(environment)
        return run(*self.compose, "-p", PROJECT, "-f", "docker-compose.yml", *words, check=check, timeout_s=timeout_s)

    # --- what is done to containers --------------------------------------------------------------

    def docker(self, verb: str, name: str) -> None:
        """`kill`, `start`, `stop`, `pause` or `unpause`."""
        run("docker", verb, self._ids[name])

    @property
    def network(self) -> str:
        return f"{PROJECT}_cluster"

    @property
    def apart(self) -> str:
        return f"{PROJECT}_apart"

    def cut(self, name: str) -> None:
        run("docker", "network", "disconnect", self.network, self._ids[name])

    def join(self, name: str, network: str | None = None) -> None:
        run("docker", "network", "connect", "--alias", name, network or self.network, self._ids[name])

    def split(self, names: Sequence[str]) -> None:
        """Some services go to a network of their own, where they still find each other."""
        run("docker", "network", "create", "--internal", self.apart)
        for name in names:
            self.cut(name)
        for name in names:
            self.join(name, self.apart)

    def heal(self, names: Sequence[str]) -> None:
        for name in names:
            run("docker", "network", "disconnect", self.apart, self._ids[name])
            self.join(name)
        run("docker", "network", "rm", self.apart)

    # --- questions -------------------------------------------------------------------------------

    def ask(self, node: str, *paths: str) -> list[Any]:
        """A node's answers, asked from inside its container; None for what it does not have."""
        words = ("docker", "exec", "--interactive", self._ids[node], "python", "-I", "-S", "-c", _PROBE)
        try:
            return list(json.loads(run(*words, feed=json.dumps(paths))))
        except TestFailed as failure:
            raise NoAnswer(f"{node}: {str(failure).splitlines()[-1]}") from None

    def ask_all(self, nodes: Sequence[str], *paths: str) -> dict[str, list[Any]]:
        with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
            return dict(zip(nodes, pool.map(lambda node: self.ask(node, *paths), nodes), strict=True))

    def heights(self, nodes: Sequence[str] = NODES) -> dict[str, dict[str, tuple[int, int]]]:
        """By chain and node the heights of the head and of the last final block."""
        found: dict[str, dict[str, tuple[int, int]]] = {chain: {} for chain in CHAINS}
        for node, (status,) in self.ask_all(nodes, "/v1/status").items():
            for chain in status["chains"]:
                found[chain["chain"]][node] = (chain["height"], chain["final_height"])
        return found

    def agrees(self, nodes: Sequence[str] = NODES) -> bool:
        """True where on every chain all have one block at the height of whoever is last, 3 below the first at most."""
        for chain, found in self.heights(nodes).items():
            hosts = hosts_of(chain, nodes)
            heads = [found[node][0] for node in hosts]
            if not heads:
                continue
            answers = self.ask_all(hosts, f"/v1/{chain}/block/{min(heads)}")
            if max(heads) - min(heads) > 3 or len({answer[0] and answer[0]["hash"] for answer in answers.values()}) > 1:
                return False
        return True

    def id_of(self, name: str) -> str:
        return self._ids[name]

    def exec(self, name: str, *words: str) -> str:
        return run("docker", "exec", self._ids[name], *words)

    def stats(self) -> str:
        form = "{{.Name}}  {{.CPUPerc}}  {{.MemUsage}}"
        return run("docker", "stats", "--no-stream", "--format", form, *self._ids.values())

    def save_logs(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        for name in self._ids:
            (directory / f"{name}.log").write_text(self.logs(name), encoding="utf-8")

    def logs(self, name: str) -> str:
        done = subprocess.run(["docker", "logs", self._ids[name]], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def find_missing(self, node: str, chain: str, identities: Sequence[str]) -> list[str]:
        """Those that no block of the node's chain holds."""
        answers = self.ask(node, *(f"/v1/{chain}/tx/{identity}" for identity in identities))
        return [
            identity
            for identity, answer in zip(identities, answers, strict=True)
            if answer is None or answer["status"] != "included"
        ]


def wait_for(what: str, condition: Callable[[], object], within_s: float, *, every_s: float = 1.0) -> float:
    """Seconds until a condition holds; where a node does not answer, it does not yet. Raises `TestFailed`."""
    begin, silence = time.monotonic(), ""
    while True:
        try:
            if condition():
                return time.monotonic() - begin
            silence = ""
        except NoAnswer as failure:
            silence = f" ({failure})"
        if time.monotonic() - begin > within_s:
            raise TestFailed(f"not within {within_s:.0f} s: {what}{silence}")
        time.sleep(every_s)
