"""The identity of the running code: a hash over the sources that a trial may depend on, commit, versions. A driver."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from simulation.experiments.sweep import Code

ROOT = Path(__file__).parents[2]
_SOURCES = (
    "ledger/**/*.py",
    "consensus/**/*.py",
    "market/**/*.py",
    "node/errors.py",
    "node/chain/**/*.py",
    "simulation/**/*.py",
    "configs/**/*.toml",
    "configs/**/*.csv",
)


def list_sources() -> list[Path]:
    """The files that a trial may depend on."""
    return sorted({file for pattern in _SOURCES for file in ROOT.glob(pattern)})


@cache
def hash_sources() -> str:
    """SHA-256 over the names and bytes of the sources, as they are on disk when first asked."""
    digest = hashlib.sha256()
    for file in list_sources():
        raw = file.read_bytes()
        digest.update(f"{file.relative_to(ROOT).as_posix()} {len(raw)}\n".encode())
        digest.update(raw)
    return digest.hexdigest()


@cache
def describe_code() -> Code:
    """The code of this process. Outside a checkout of its own there is no commit."""
    commit = _git("rev-parse", "HEAD")
    return Code(
        hash=hash_sources(),
        commit=commit,
        is_modified=bool(commit) and bool(_git("status", "--porcelain", "--untracked-files=no")),
        gridmerit=_version("gridmerit"),
        python=platform.python_version(),
        numpy=_version("numpy"),
    )


def _git(*arguments: str) -> str:
    if not (ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
