"""`gridmerit key`: Ed25519 keys in encrypted files."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.commands import Group
from gridmerit.commands.target import load_key_file
from gridmerit.network.layout import make_directory, make_passphrase
from gridmerit.output import emit, json_option
from gridmerit.tables import facts, table
from ledger.errors import GridmeritError
from ledger.signatures import SigningKey, generate_key
from node.credentials.keystore import load_passphrase, save_key

_SHOWN = 12  # digits of a public key in a list
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("key", cls=Group)
def command() -> None:
    """Make and look at keys.

    A key file is encrypted PKCS#8, readable by its owner alone. Its passphrase lies in a file of its own (by default
    `passphrase` beside it), never on a command line and never in the environment.
    """


@command.command("new")
@click.argument("file", type=_FILE)
@click.option("--passphrase-file", type=_FILE, help="Use this file's passphrase.  [default: make `passphrase`]")
@json_option
def new(file: Path, passphrase_file: Path | None) -> None:
    """Make a key. Nothing is ever overwritten.

    \b
    Example:
      gridmerit key new keys/homes-9.pem
    """
    make_directory(file.parent)
    beside = passphrase_file or file.with_name("passphrase")
    passphrase = load_passphrase(beside) if passphrase_file or beside.exists() else make_passphrase(beside)
    key = generate_key()
    save_key(file, key, passphrase)
    emit(_describe(file, key), _render(file, key))


@command.command("show")
@click.argument("file", type=_FILE)
@click.option("--passphrase-file", type=_FILE, help="[default: `passphrase` beside the key]")
@json_option
def show(file: Path, passphrase_file: Path | None) -> None:
    """The public key and the address of a key file.

    \b
    Example:
      gridmerit key show mynet/nodes/wind-122/key.pem
    """
    key = load_key_file(file, passphrase_file)
    emit(_describe(file, key), _render(file, key))


@command.command("list")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".")
@json_option
def list_keys(directory: Path) -> None:
    """Every key file below a directory whose passphrase lies beside it.

    Public keys are cut short; `gridmerit key show FILE` has one whole, --json all of them.

    \b
    Example:
      gridmerit key list mynet
    """
    found, rows = [], []
    for file in sorted(directory.rglob("*.pem")):
        try:
            key = load_key_file(file)
        except GridmeritError as error:
            found.append({"file": str(file), "error": error.code})
            rows.append((file, f"cannot be opened: {error.code}", ""))
            continue
        found.append(_describe(file, key))
        rows.append((file, "0x" + key.address.hex(), key.public_key.hex()[:_SHOWN] + "…"))
    text = table(["file", "address", "public key"], rows, left=(0, 1, 2)) if rows else f"no keys below {directory}"
    emit(found, text)


def _describe(file: Path, key: SigningKey) -> dict[str, str]:
    return {"file": str(file), "address": "0x" + key.address.hex(), "public_key": key.public_key.hex()}


def _render(file: Path, key: SigningKey) -> str:
    return facts([("file", file), ("address", "0x" + key.address.hex()), ("public key", key.public_key.hex())])
