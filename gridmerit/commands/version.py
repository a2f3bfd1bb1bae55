"""`gridmerit version`."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

import click

from consensus import seal
from gridmerit.output import emit, json_option
from gridmerit.tables import facts

_LEVELDB = "plyvel" if sys.version_info < (3, 13) else "plyvel-next"
_PACKAGES = ("aiohttp", "click", "cryptography", "msgpack", _LEVELDB, "pydantic", "pynacl", "matplotlib")


@click.command("version")
@json_option
def command() -> None:
    """Versions of gridmerit and of what it runs on.

    \b
    Example:
      gridmerit version --json
    """
    versions = {"gridmerit": find_version()}
    versions["python"] = platform.python_version()
    versions["nonce search"] = seal.active_path()
    for package in _PACKAGES:
        versions[package] = _version_of(package) or "not installed"
    emit(versions, facts(list(versions.items())))


def find_version() -> str:
    """Of this program."""
    return _version_of("gridmerit") or "not installed, run from source"


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
