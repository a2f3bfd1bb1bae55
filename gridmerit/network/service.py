"""A node as a service of systemd: the unit that runs it, and the line of sysusers.d that makes its user."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from gridmerit.errors import UnusableDirectory
from gridmerit.network.layout import NODE_FILE, find_node_file
from node.config import load_config

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_PLAIN = re.compile(r"[A-Za-z0-9/_.,:@+-]+")
_MENDED_BY_HAND = (2, 3, 5, 6, 7)  # exit codes that come again at every start: usage, settings, guard, damage
_INTERRUPTED = 130

_UNIT = """\
# {description}, run by systemd.
#
#     gridmerit net unit --sysusers {node} > /etc/sysusers.d/{user}.conf && systemd-sysusers
#     gridmerit net unit {node} > /etc/systemd/system/{name} && systemctl daemon-reload
#     chown -R {user}: {node}
#     systemctl enable --now {name}
#     journalctl -u {name}         its log
#     systemctl reload {name}      takes up certificates and log_level
[Unit]
Description={description}
Wants=network-online.target
After=network-online.target time-sync.target

[Service]
Type=exec
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={directory}
User={user}
Group={user}
UMask=0077
Restart=on-failure
RestartSec=5
RestartPreventExitStatus={mended_by_hand}
SuccessExitStatus={interrupted}
TimeoutStopSec=60
LimitNOFILE=65536
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The name of a unit, its text, and the line for its user."""

    name: str
    unit: str
    sysusers: str


def describe_service(path: Path, user: str) -> Service:
    """The service of a node's directory, run by a user of its own.

    Raises `NotANode`, `UnusableDirectory` or what its node.toml raises.
    """
    directory = find_node_file(path).parent.resolve()
    if not str(directory).isprintable():
        raise UnusableDirectory(directory=repr(str(directory)), detail="a unit is lines of text")
    written = dict.fromkeys((directory, load_config(directory / NODE_FILE).data_dir.resolve()))
    name = f"gridmerit-{_NOT_IN_A_NAME.sub('-', directory.name)}.service"
    unit = _UNIT.format(
        description=_escape(f"The gridmerit node {directory.name}"),
        node=shlex.quote(str(directory)),
        user=user,
        name=name,
        command=" ".join(map(_quote_word, (*_find_program(), "start", str(directory)))),
        directory=_escape(str(directory)),
        mended_by_hand=" ".join(map(str, _MENDED_BY_HAND)),
        interrupted=_INTERRUPTED,
        writable=" ".join(_quote(str(place)) for place in written if not _is_below(place, directory)),
    )
    return Service(name=name, unit=unit, sysusers=f'u {user} - "gridmerit nodes"\n')


def _is_below(place: Path, directory: Path) -> bool:
    return place != directory and place.is_relative_to(directory)


def _find_program() -> tuple[str, ...]:
    """The command by which this program is started again, whatever the PATH of a service."""
    beside = Path(sys.executable).with_name("gridmerit")
    return (str(beside),) if beside.is_file() else (sys.executable, "-P", "-m", "gridmerit")


def _escape(text: str) -> str:
    """Text in which systemd sees no specifiers."""
    return text.replace("%", "%%")


def _quote(text: str) -> str:
    """One word of several."""
    if _PLAIN.fullmatch(text):
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escape(quoted)}"'


def _quote_word(text: str) -> str:
    """One word of a command line, in which systemd sees no variables."""
    return _quote(text.replace("$", "$$"))
