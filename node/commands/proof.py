"""`gridmerit proof`: documents that prove themselves, from a node and without one."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from ledger.errors import BadConfigFile, UnreadableFile, UnwritableFile
from node.commands import Group
from node.commands.target import Target, connect, node_options, run_async
from node.output import emit, facts, json_option, to_json

if TYPE_CHECKING:
    from node.proofs import Verdict

_ARGUMENTS = {"account": "NAME or ADDRESS", "trade": "PERIOD INDEX", "tx": "ID"}
_MAX_BYTES = 16_000_000
_WIDTH = 88  # of the statement, beside its name


@click.group("proof", cls=Group)
def command() -> None:
    """Get a proof from a node and verify it offline.

    A proof document is self-contained: whoever has the genesis can check it, and needs to trust no node.
    """


@command.command("get")
@click.argument("kind", type=click.Choice(list(_ARGUMENTS)))
@click.argument("of", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
@node_options
@json_option
def get(kind: str, of: tuple[str, ...], output: Path | None, target: Target) -> None:
    """Fetch the proof of an account, of a trade (PERIOD INDEX) or of a transaction (ID).

    An account is Eq. (7) of text 000: address, balance and credit, in the state that a block commits to. The trading
    chain proves what a member has; with --chain naming the credit chain, the credit that its deliveries were scored,
    from which the other chains take theirs. A transaction is proved by the chain that holds it.

    \b
    Examples:
      gridmerit proof get account wind-122 -o balance.json --node mynet
      gridmerit proof get account wind-122 --chain lh1 -o credit.json --node mynet
      gridmerit proof get trade 118 0 -o trade.json --node mynet
    """

    async def work() -> dict[str, Any]:
        async with connect(target) as client:
            match kind, of:
                case "account", (name,):
                    return await client.proof_account(name)
                case "trade", (period, index) if period.isdecimal() and index.isdecimal():
                    return await client.proof_trade(int(period), int(index))
                case "tx", (identity,):
                    return await client.proof_transaction(identity)
            raise click.UsageError(f"proof get {kind} takes {_ARGUMENTS[kind]}")

    document = run_async(work())
    if output is None:
        emit(document, to_json(document))
        return
    try:
        output.write_text(to_json(document) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnwritableFile(file=output, detail=error.strerror) from None
    genesis = None if target.directory is None else target.directory / "genesis.json"
    known = genesis if genesis is not None and genesis.is_file() else "FILE"
    next_step = f"next: gridmerit proof verify {output} --genesis {known}"
    emit({"kind": kind, "file": str(output)}, f"wrote {output}\n{next_step}")


@command.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--genesis", "genesis_file", type=click.Path(path_type=Path), required=True, help="Its genesis file.")
@json_option
def verify(file: Path, genesis_file: Path) -> None:
    """Check a proof document from the genesis alone. No node is asked. Exit code 7 when it does not hold.

    \b
    Example:
      gridmerit proof verify trade.json --genesis mynet/genesis.json
    """
    from node.config import load_genesis
    from node.proofs import verify_document

    proof = read_document(file)
    name = proof.get("chain") if isinstance(proof, dict) else None
    genesis = load_genesis(genesis_file, name if isinstance(name, str) else None)
    verdict = verify_document(proof, genesis)
    document = {"verified": True, "kind": verdict.kind, "chain": verdict.chain, "statement": verdict.statement}
    emit({**document, "final": verdict.is_final, "claims": verdict.claims}, _render(verdict, genesis.params.kind))


def read_document(file: Path) -> Any:
    """A proof document as it was written. Raises `UnreadableFile` or `BadConfigFile`."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise UnreadableFile(file=file, detail=f"it is larger than {_MAX_BYTES} bytes")
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableFile(file=file, detail=error.strerror) from None
    except ValueError as error:
        raise BadConfigFile(file=file, problems=f"not a JSON document: {error}") from None


def _render(verdict: Verdict, kind: str) -> str:
    finality = "the block is final" if verdict.is_final else "the block is not final: a heavier branch may replace it"
    first, *rest = wrap(verdict.statement, _WIDTH)
    lines = [
        ("verified", first),
        *(("", line) for line in rest),
        ("chain", f"{verdict.chain}, {kind}"),
        ("finality", finality),
    ]
    return facts(lines)
