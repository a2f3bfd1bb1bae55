"""`make dist`: the source archive, and the wheel built from what is in it, with the tools that are installed here.

Nothing is fetched. A wheel from the archive shows that the archive lacks nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(out: Path) -> tuple[Path, Path]:
    """The source archive and the wheel, made in the directory `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        _copy_tracked(tree)
        archive = out / _call_backend("build_sdist", tree, out)
        with tarfile.open(archive) as opened:
            opened.extractall(Path(scratch) / "unpacked", filter="data")
        (unpacked,) = (Path(scratch) / "unpacked").iterdir()
        return archive, out / _call_backend("build_wheel", unpacked, out)


def _copy_tracked(tree: Path) -> None:
    """The files that git knows, as they stand in the working tree: no build, no cache, no key file that lies about."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())


def _call_backend(hook: str, source: Path, out: Path) -> str:
    script = f"from setuptools import build_meta; print(build_meta.{hook}({str(out.resolve())!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{hook} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    for path in build(Path(sys.argv[1])):
        print(path)
