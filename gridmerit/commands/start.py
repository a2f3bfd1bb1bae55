"""`gridmerit start`: one node, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from gridmerit.network.layout import find_node_file
from gridmerit.output import emit, json_option
from gridmerit.tables import facts
from ledger.errors import GridmeritError
from node.config import NodeConfig, load_config
from node.driver.chain_driver import Policy
from node.runtime import Runtime
from node.system.descriptors import raise_limit
from node.system.garbage import Collector
from node.system.log_files import LOG_FILE, LogFile, find_log_file
from node.system.logs import flush_logging, get_logger, log_event, set_level, setup_logging
from node.system.pid_file import PidFile
from node.system.turns import TimedLoop

INTERRUPTED = 130
_WHOLE_PPM = 1_000_000


@click.command("start")
@click.argument("directory", type=click.Path(path_type=Path), default=".")
@click.option(
    "--i-am-sure",
    "is_sure",
    is_flag=True,
    help="Sign without asking other members what this key has signed: for a network that starts anew with few of them, "
    "or once the other copy of this directory is certainly off. Wrong, it costs credit.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, directory: Path, is_sure: bool) -> None:
    """Run a node in the foreground.

    It runs until Ctrl-C or SIGTERM; SIGHUP has it take up certificates, `log_level` and a log file that was moved away.
    A chain whose store is damaged stays out, the node's others run; where all are out,
    it ends. DIRECTORY holds its `node.toml`. Once it listens, one result is printed; logs go to
    stderr, as lines of JSON unless that is a terminal. It seals and votes once other members have borne out its record
    of what its key has signed; `gridmerit status` says what it waits for.

    \b
    Example:
      gridmerit start mynode
    """
    ctx.exit(run_node(directory, is_sure=is_sure))


def run_node(directory: Path, policy: Policy | None = None, *, power: int = 1, is_sure: bool = False) -> int:
    """Run the node of a directory until a signal; the exit code.

    See `Runtime` for `is_sure`. A `policy` is an attack, and `power` multiplies the share of a core that sealing takes.
    Raises `NotANode` and what `Runtime` raises.
    """
    file = find_node_file(directory)
    config = load_config(file)
    raise_limit()
    limits = config.limits
    log = find_log_file(file.with_name(LOG_FILE), max_bytes=limits.log_file_bytes, kept=limits.log_files)
    setup_logging(config.log_level, as_json=not sys.stderr.isatty(), output=log)
    share_ppm = min(_WHOLE_PPM, power * config.sealing.core_share_ppm)
    sealing = config.sealing.model_copy(update={"core_share_ppm": share_ppm})
    try:
        with PidFile(file.parent), asyncio.Runner(loop_factory=TimedLoop) as runner:
            config = config.model_copy(update={"sealing": sealing})
            number = runner.run(_run(config, policy, is_sure=is_sure, on_hangup=partial(_reload_logging, file, log)))
    finally:
        flush_logging()  # so that an error is what a log ends with
    return INTERRUPTED if number == signal.SIGINT else 0


def _reload_logging(file: Path, log: LogFile | None) -> None:
    """Go on in the log file that has its name now, and log what node.toml says by now."""
    try:
        if log is not None:
            log.reopen()
        level = load_config(file).log_level
    except GridmeritError as error:
        log_event(get_logger(), logging.WARNING, "log-level-kept", error=error.code, detail=str(error))
    except OSError as error:
        log_event(get_logger(), logging.WARNING, "log-not-reopened", detail=error.strerror or str(error))
    else:
        log_event(get_logger(), logging.INFO, "log-level", log_level=level)
        set_level(level)


async def _run(
    config: NodeConfig, policy: Policy | None, *, is_sure: bool, on_hangup: Callable[[], None]
) -> int | None:
    runtime = Runtime(config, policy=policy, is_sure=is_sure)
    await runtime.start()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimedLoop)
    collector = Collector()
    loop.restart_turns()
    peers_at = config.peer_listen._replace(port=runtime.peer_port)
    api = config.api_listen._replace(port=runtime.api_port).url
    ready = {
        "member": runtime.member,
        "chains": list(runtime.chains),
        "out": {name: str(outage.error) for name, outage in runtime.outages.items()},
        "peer_port": runtime.peer_port,
        "api": api,
    }
    rows = [
        ("node", runtime.member or "observer"),
        ("chains", ", ".join(runtime.chains)),
        *((f"{name} is OUT", f"{outage.error}; try: {outage.remedy}") for name, outage in runtime.outages.items()),
        ("peers at", peers_at),
        ("API at", api),
    ]

    def announce() -> None:
        emit(ready, facts(rows))
        sys.stdout.flush()

    # Said once signals are handled, so that whoever waits for it may send one at once.
    loop.call_soon(announce)
    try:
        return await runtime.run_until_signal(on_hangup=on_hangup)
    finally:
        collector.close()
