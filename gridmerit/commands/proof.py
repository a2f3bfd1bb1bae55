"""`gridmerit proof`: documents that prove themselves, from a node and without one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from textwrap import wrap
from typing import Any

import click

from gridmerit.commands import Group
from gridmerit.commands.hosted import connect_to, connect_to_any
from gridmerit.commands.open_periods import find_session, session_option
from gridmerit.commands.target import Target, node_options, run_async
from gridmerit.output import emit, json_option, to_json
from gridmerit.tables import facts, fit_columns
from gridmerit.text import quote_path
from ledger.errors import UnwritableFile
from node.api.client import Client
from node.config import load_genesis
from node.errors import BadConfigFile, RemoteNotFound, TimedOut
from node.proofs.documents import Verdict, verify_document
from node.system.files import read_text

_ARGUMENTS = {"account": "NAME or ADDRESS", "trade": "PERIOD INDEX", "tx": "ID"}
_MAX_BYTES = 16_000_000
_POLL_S = 0.1
_WIDTH = 88  # of the statement
_NAMES = 10  # beside it


@click.group("proof", cls=Group)
def command() -> None:
    """Get a proof from a node and verify it offline.

    A proof document is self-contained: whoever has the genesis can check it, and needs to trust no node.
    """


@command.command("get")
@click.argument("kind", type=click.Choice(list(_ARGUMENTS)))
@click.argument("of", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
@session_option
@click.option("--final", "must_be_final", is_flag=True, help="Wait until a quorum stands behind the proof.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds.")
@node_options
@json_option
def get(
    kind: str,
    of: tuple[str, ...],
    output: Path | None,
    session: str | None,
    must_be_final: bool,
    timeout_s: float,
    target: Target,
) -> None:
    """Fetch the proof of an account, of a trade (PERIOD INDEX) or of a transaction (ID).

    An account is Eq. (7) of text 000: address, balance and credit, in the state that a block commits to. The trading
    chain proves what a member has; with --chain naming the credit chain, the credit that its deliveries were scored,
    from which the other chains take theirs. A transaction is proved by the chain that holds it.

    A trade's proof is always final. That of an account or a transaction in a new block is one sealer's word; with
    --final it is awaited that the block, for an account the running head, is final, and exit code 8 says it was not.

    \b
    Examples:
      gridmerit proof get account wind-122 -o balance.json --node mynet
      gridmerit proof get account wind-122 -o balance.json --final --node mynet
      gridmerit proof get account wind-122 --chain lh1 -o credit.json --node mynet
      gridmerit proof get trade 118 0 -o trade.json --node mynet
    """

    if session is not None and kind != "trade":
        raise click.UsageError("--session is for the proof of a trade")
    final_within_s = timeout_s if must_be_final else None
    document = run_async(fetch_proof(target, kind, of, session, final_within_s=final_within_s))
    if output is None:
        emit(document, to_json(document))
        return
    try:
        output.write_text(to_json(document) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnwritableFile(file=output, detail=error.strerror) from None
    genesis = None if target.directory is None else target.directory / "genesis.json"
    known = quote_path(genesis) if genesis is not None and genesis.is_file() else "FILE"
    next_step = f"next: gridmerit proof verify {quote_path(output)} --genesis {known}"
    emit({"kind": kind, "file": str(output)}, f"wrote {output}\n{next_step}")


async def fetch_proof(
    target: Target,
    kind: str,
    of: tuple[str, ...],
    session: str | None = None,
    *,
    final_within_s: float | None = None,
) -> dict[str, Any]:
    """The proof document of an account, a trade or a transaction, once it is final where a time is given for that.

    Raises `TimedOut`.
    """
    async with connect_to(target, "trading") if kind == "trade" else connect_to_any(target, "trading") as client:
        if final_within_s is not None:
            return await _wait_until_final(client, kind, of, session, final_within_s)
        return await _fetch(client, kind, of, session)


async def _fetch(
    client: Client, kind: str, of: tuple[str, ...], session: str | None, *, at_final: bool = False
) -> dict[str, Any]:
    match kind, of:
        case "account", (name,):
            return await client.proof_account(name, at_final=at_final)
        case "trade", (period, index) if period.isdecimal() and index.isdecimal():
            return await client.proof_trade(int(period), int(index), await find_session(client, session))
        case "tx", (identity,):
            return await client.proof_transaction(identity)
    raise click.UsageError(f"proof get {kind} takes {_ARGUMENTS[kind]}")


async def _wait_until_final(
    client: Client, kind: str, of: tuple[str, ...], session: str | None, timeout_s: float
) -> dict[str, Any]:
    """A final proof; an account's is of what the head block says now, or a later one. Raises `TimedOut`."""
    least_height = (await client.status()).height if kind == "account" else 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    document = await _fetch(client, kind, of, session, at_final=True)
                    if document["final"] and document["height"] >= least_height:
                        return document
                except RemoteNotFound as error:
                    if error.code != "NoCertificate":
                        raise
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise TimedOut(what=f"a final proof of {kind} {' '.join(of)}", timeout_s=timeout_s) from None


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
    proof = read_document(file)
    name = proof.get("chain") if isinstance(proof, dict) else None
    genesis = load_genesis(genesis_file, name if isinstance(name, str) else None)
    verdict = verify_document(proof, genesis)
    document = {"verified": True, "kind": verdict.kind, "chain": verdict.chain, "statement": verdict.statement}
    emit({**document, "final": verdict.is_final, "claims": verdict.claims}, _render(verdict, genesis.params.kind))


def read_document(file: Path) -> Any:
    """A proof document as it was written. Raises `UnreadableFile` or `BadConfigFile`."""
    try:
        return json.loads(read_text(file, _MAX_BYTES))
    except ValueError as error:
        raise BadConfigFile(file=file, problems=f"not a JSON document: {error}") from None


def _render(verdict: Verdict, kind: str) -> str:
    finality = "the block is final" if verdict.is_final else "the block is not final: a heavier branch may replace it"
    first, *rest = wrap(verdict.statement, fit_columns(_WIDTH + _NAMES) - _NAMES)
    lines = [
        ("verified", first),
        *(("", line) for line in rest),
        ("chain", f"{verdict.chain}, {kind}"),
        ("finality", finality),
    ]
    return facts(lines)
