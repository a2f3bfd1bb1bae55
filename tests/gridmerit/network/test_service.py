"""The unit of systemd: it names the node whatever its path, may write there alone, and knows what to try again."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gridmerit.network.service import describe_service
from ledger.errors import StoreCorrupt, StoreFailed, StoreLocked
from node.errors import (
    AddressInUse,
    AnchorContradicted,
    BadConfigFile,
    GuardCorrupt,
    GuardMissing,
    KeyFilePermissions,
    RolledBack,
    TooFewDescriptors,
)

Run = Callable[..., tuple[int, str, str]]

NODE = """
data_dir = "data"
peer_listen = "127.0.0.1:9100"
api_listen = "127.0.0.1:9200"
[[chains]]
genesis = "genesis.json"
"""


def make_node(directory: Path, text: str = NODE) -> Path:
    directory.mkdir(parents=True)
    (directory / "node.toml").write_text(text)
    return directory


def parse_unit(text: str) -> dict[str, dict[str, str]]:
    """The sections of a unit with their settings, as `systemd.syntax` has them: none here is given twice."""
    sections: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
            continue
        name, equals, value = line.partition("=")
        assert equals, line
        assert name not in section, line
        section[name] = value
    return sections


def split_words(value: str) -> list[str]:
    """The words of a setting, without specifiers and variables."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(value)]


@pytest.mark.parametrize(
    "name", ["wind-122", "a b", "50%h", "$HOME", "it's", 'so "called"', "back\\slash", "Überlandwerk"]
)
def test_it_starts_the_node_whatever_its_path(tmp_path: Path, name: str) -> None:
    home = make_node(tmp_path / name)
    service = describe_service(home, "gridmerit")
    unit = parse_unit(service.unit)
    assert list(unit) == ["Unit", "Service", "Install"]
    *program, verb, directory = split_words(unit["Service"]["ExecStart"])
    assert (verb, directory) == ("start", str(home))
    assert Path(program[0]).parent == Path(sys.executable).parent
    assert split_words(unit["Service"]["ReadWritePaths"]) == [str(home)]
    assert unit["Service"]["WorkingDirectory"].replace("%%", "%") == str(home)
    assert verify(tmp_path / service.name, service.unit) == ""


def verify(file: Path, unit: str) -> str:
    """The objections of systemd itself to a unit, where it is on this machine."""
    file.write_text(unit)
    if shutil.which("systemd-analyze") is None:
        return ""
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if str(file.name) in line)


def test_it_is_shut_in(tmp_path: Path) -> None:
    service = parse_unit(describe_service(make_node(tmp_path / "node"), "energy").unit)["Service"]
    expected = {
        "User": "energy",
        "Group": "energy",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "CapabilityBoundingSet": "",
        "Restart": "on-failure",
        "TimeoutStopSec": "60",
        "LimitNOFILE": "65536",
        "ExecReload": "/bin/kill -HUP $MAINPID",
    }
    assert expected.items() <= service.items()


def test_data_that_lie_elsewhere_are_writable_too(tmp_path: Path) -> None:
    home = make_node(tmp_path / "node", NODE.replace('"data"', f'"{tmp_path}/big disk"'))
    service = parse_unit(describe_service(home / "node.toml", "gridmerit").unit)["Service"]
    assert split_words(service["ReadWritePaths"]) == [str(home), f"{tmp_path}/big disk"]


def test_what_a_restart_does_not_mend_is_not_tried_again(tmp_path: Path) -> None:
    service = parse_unit(describe_service(make_node(tmp_path / "node"), "gridmerit").unit)["Service"]
    left = set(map(int, service["RestartPreventExitStatus"].split()))
    by_hand = (BadConfigFile, KeyFilePermissions, TooFewDescriptors, AnchorContradicted, GuardMissing, RolledBack)
    assert {error.exit_code for error in (*by_hand, GuardCorrupt, StoreCorrupt)} <= left
    assert not {error.exit_code for error in (AddressInUse, StoreFailed, StoreLocked)} & left
    assert not {1, 8} & left
    assert service["SuccessExitStatus"] == "130"


# --- the command -----------------------------------------------------------------------------------


def test_it_prints_the_unit_or_the_line_for_its_user(gridmerit: Run, tmp_path: Path) -> None:
    home = make_node(tmp_path / "wind-122")
    code, unit, _ = gridmerit("net", "unit", home)
    assert code == 0
    assert unit == describe_service(home, "gridmerit").unit
    code, line, _ = gridmerit("net", "unit", home, "--sysusers", "--user", "energy")
    assert (code, line) == (0, 'u energy - "gridmerit nodes"\n')
    document = json.loads(gridmerit("net", "unit", home, "--json")[1])
    assert document == {
        "name": "gridmerit-wind-122.service",
        "unit": unit,
        "sysusers": 'u gridmerit - "gridmerit nodes"\n',
    }


def test_what_cannot_be_a_service_is_told(gridmerit: Run, tmp_path: Path) -> None:
    assert gridmerit("net", "unit", tmp_path)[2].startswith("error[NotANode]")
    home = make_node(tmp_path / "two\nlines")
    code, _, err = gridmerit("net", "unit", home)
    assert (code, "error[UnusableDirectory]" in err, "a unit is lines of text" in err) == (3, True, True)
    for user in ("root x", "a\nb", "", "-x", "Me"):
        code, _, err = gridmerit("net", "unit", home, "--user", user)
        assert (code, "want the name of a user" in err) == (2, True)
