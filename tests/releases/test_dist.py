"""The archive and wheel of `make dist` hold all that is needed: a wheel of the archive, in an empty environment."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from .build import build

FIRST_HOUR = ("demo", "--hours", "1", "--peers", "2", "--period-ms", "6000", "--json")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Runs a program of an environment with the wheel in it, and the locked dependencies of this one."""
    home = tmp_path_factory.mktemp("installed")
    environment = home / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    options = ["install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", environment, *options, built[1]], check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(program, *arguments):
        command = [environment / "bin" / program, *arguments]
        done = subprocess.run(command, cwd=home, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_archive_and_the_wheel_hold_code_data_and_the_native_search_and_nothing_else(built):
    archive, wheel = built
    with tarfile.open(archive) as opened:
        sources = {name.partition("/")[2] for name in opened.getnames()}
    assert {"consensus/native/seal.h", "setup.py", "pyproject.toml", "LICENSE", "README.md"} <= sources
    names = zipfile.ZipFile(wheel).namelist()
    profiles = {f"configs/profiles/rts_gmlc_{span}.csv" for span in ("day", "week")}
    assert {"configs/recommended/jy1.toml", "simulation/page/viewer.js", *profiles} <= set(names)
    assert any(name.startswith("consensus/_seal.") and name.endswith(".so") for name in names)
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"configs", "consensus", "gridmerit", "ledger", "market", "node", "simulation"}
    assert not [name for name in (*sources, *names) if name.endswith((".pem", ".pyc"))]


def test_an_empty_environment_runs_it_with_its_data_and_the_native_search(built, installed):
    version = built[1].name.split("-")[1]
    assert installed("gridmerit", "--version") == f"gridmerit {version}\n"
    script = (
        "import ledger, consensus.seal as seal; from importlib.resources import files;"
        "print(ledger.__file__, seal.active_path(), len((files('simulation') / 'page' / 'style.css').read_text()))"
    )
    place, path, size = installed("python", "-c", script).split()
    assert "site-packages" in Path(place).parts
    assert Path(place).parents[1] != Path(sysconfig.get_path("purelib"))
    assert path != "hashlib"
    assert int(size) > 1_000
    listed = installed("gridmerit", "net", "new", "net", "--nodes", "2", "--base-port", "0")
    assert "net" in listed


@pytest.mark.live
@pytest.mark.long
def test_an_empty_environment_runs_the_first_hour_of_the_demo(installed):
    document = json.loads(installed("gridmerit", *FIRST_HOUR, "--out", "out"))
    assert document
