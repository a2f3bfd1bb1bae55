"""`gridmerit start`: one node, in the foreground."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.errors import NotANode
from node.output import emit, facts, json_option

if TYPE_CHECKING:
    from node.config import NodeConfig

INTERRUPTED = 130


@click.command("start")
@click.argument("directory", type=click.Path(path_type=Path), default=".")
@json_option
@click.pass_context
def command(ctx: click.Context, directory: Path) -> None:
    """Run a node in the foreground.

    It runs until Ctrl-C or SIGTERM. DIRECTORY holds its `node.toml`. Once it listens, one result is printed; logs go to
    stderr, as lines of JSON unless that is a terminal.

    \b
    Example:
      gridmerit start mynode
    """
    from node.config import load_config
    from node.logs import setup_logging

    file = directory if directory.name == "node.toml" else directory / "node.toml"
    if not file.is_file():
        raise NotANode(directory=file.parent)
    config = load_config(file)
    setup_logging(config.log_level, as_json=not sys.stderr.isatty())
    number = asyncio.run(_run(config))
    ctx.exit(INTERRUPTED if number == signal.SIGINT else 0)


async def _run(config: NodeConfig) -> int | None:
    from node.runtime import Runtime

    runtime = Runtime(config)
    await runtime.start()
    host = config.api_listen.host
    ready = {
        "member": runtime.member,
        "chains": list(runtime.chains),
        "peer_port": runtime.peer_port,
        "api": f"http://{host}:{runtime.api_port}",
    }
    rows = [
        ("node", runtime.member or "observer"),
        ("chains", ", ".join(runtime.chains)),
        ("peers at", f"{config.peer_listen.host}:{runtime.peer_port}"),
        ("API at", f"http://{host}:{runtime.api_port}"),
    ]

    def announce() -> None:
        emit(ready, facts(rows))
        sys.stdout.flush()

    # Said once signals are handled, so that whoever waits for it may send one at once.
    asyncio.get_running_loop().call_soon(announce)
    return await runtime.run_until_signal()
