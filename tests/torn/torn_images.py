"""A node's directory after crashes at every moment of its life: it opens, and has the old state or the new.

    python -m tests.torn.torn_images [--images 10000] [--seed N]

Each image is opened by the real driver's own code, and held against what the node had said by then: no block or
signature that anybody has heard of and no acknowledged transaction may be missing, and nothing may be there that the
node never came to. Opening it is a life like any other, so images of that are taken, too.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import TypeVar

from ledger.errors import GridmeritError
from node.chain.events import Started
from tests.torn.disk_model import Disk, Operation, read_trace
from tests.torn.scenario import Outside, make_solo, open_driver

_ROOT = Path(__file__).resolve().parents[2]
_CHAIN = "jy1"
_OF_A_RECOVERY = 100  # images of one life that goes on from an image
FAILURES = (errno.EIO, errno.ENOSPC, 0)  # the last one: half a write
T = TypeVar("T")


class Broken(AssertionError):
    """A thing that an image shows and that must never be."""


@dataclass
class Told:
    """The knowledge that others have of a node by some moment: the least that every image after it must have."""

    height: int = 0
    signed: int = 0
    acknowledged: list[bytes] = field(default_factory=list)

    def note(self, raw: bytes) -> None:
        """Take note of a mark."""
        values = json.loads(raw)
        self.height = max(self.height, values.get("height", 0))
        self.signed = max(self.signed, values.get("signed", 0))
        self.acknowledged += [bytes.fromhex(values["acknowledged"])] if "acknowledged" in values else []


@cache
def build_shim() -> Path:
    """The library between a process and the system, compiled."""
    library = Path(tempfile.mkdtemp(prefix="gridmerit-shim-")) / "disk_shim.so"
    source = Path(__file__).with_name("disk_shim.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"], check=True)
    return library


def record_life(home: Path, *, lives: int = 2, fail_at: int = 0, how: int = 0) -> list[Operation]:
    """The operations that the scenario asks of its disk, which is `home/disk`."""
    (home / "disk").mkdir(parents=True, exist_ok=True)
    trace = home / "trace"
    trace.unlink(missing_ok=True)
    environment = {"SHIM_ROOT": str(home / "disk"), "SHIM_TRACE": str(trace), "LD_PRELOAD": str(build_shim())}
    words = [str(home / "disk" / _CHAIN), str(lives), str(fail_at), str(how)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torn.scenario", *words],
        env={**os.environ, **environment, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Broken(f"the scenario ended with {done.returncode}: {done.stderr[-2_000:]}")
    return read_trace(trace)


def write_image(files: Mapping[str, bytes], place: Path) -> Path:
    """A directory with these files in the place of what is there."""
    shutil.rmtree(place, ignore_errors=True)
    (place / _CHAIN).mkdir(parents=True)
    for path, raw in files.items():
        (place / path).parent.mkdir(exist_ok=True)
        if raw.strip(b"\0"):
            (place / path).write_bytes(raw)
        else:
            (place / path).touch()
            os.truncate(place / path, len(raw))
    return place / _CHAIN


def judge(directory: Path, told: Told, known: Mapping[int, str]) -> None:
    """Open an image as a node does. `known` are the hashes of all blocks that there ever were, by height."""
    network = make_solo()
    try:
        chain = open_driver(network.genesis, network.keys["solo"], directory, Outside())
    except GridmeritError as error:
        raise Broken(f"{error.code}: {error}") from error
    try:
        node = chain.node
        head = node.chain.head
        if head.height < told.height:
            raise Broken(f"it is at height {head.height}, and others have heard of {told.height}")
        if head.hash.hex() != known.get(head.height, head.hash.hex()):
            raise Broken(f"the block at height {head.height} is one that there never was")
        if node.signing_record.height < told.signed:
            raise Broken(f"it remembers signing at {node.signing_record.height}, and has signed at {told.signed}")
        node.step(Started(), head.header.timestamp_ms)
        for identity in told.acknowledged:
            if identity not in node.mempool and node.chain.find_transaction(identity) is None:
                raise Broken(f"transaction {identity.hex()[:16]} was acknowledged and is gone")
    finally:
        chain.close()


def list_blocks(operations: Sequence[Operation]) -> dict[int, str]:
    """The hash of every block that the node has told of, by height."""
    marks = [json.loads(operation.data) for operation in operations if operation.kind == "K"]
    return {values["height"]: values["hash"] for values in marks if "height" in values}


@dataclass(kw_only=True)
class Life:
    """A recorded life: from these files on, with what was known before."""

    operations: Sequence[Operation]
    before: Mapping[str, bytes] = field(default_factory=dict)
    told: Told = field(default_factory=Told)
    known: dict[int, str] = field(default_factory=dict)

    def crash(self, random: Random) -> tuple[dict[str, bytes], Told, int]:
        """Files after a crash at some moment, what others knew by then, and the moment."""
        disk, told, moment = Disk(self.before), deepcopy(self.told), random.randrange(len(self.operations))
        for operation in self.operations[: moment + 1]:
            take(operation, disk, told)
        return disk.crash(random), told, moment


def take(operation: Operation, disk: Disk, told: Told) -> None:
    """The next operation comes to the disk, or the next mark to those who hear the node."""
    if operation.kind == "K":
        told.note(operation.data)
    else:
        disk.apply(operation)


def record(home: Path, **options: int) -> Life:
    """A life from nothing on."""
    operations = record_life(home, **options)
    return Life(operations=operations, known=list_blocks(operations))


def check_images(life: Life, home: Path, *, images: int, random: Random) -> None:
    """So many images at random moments. Raises `Broken`."""
    for _ in range(images):
        files, told, moment = life.crash(random)
        try:
            judge(write_image(files, home / "image"), told, life.known)
        except Broken as failure:
            raise Broken(f"crashed after operation {moment}, {life.operations[moment][:2]}: {failure}") from failure


def check_every_moment(life: Life, home: Path) -> int:
    """Every moment in every way; the number of images. Raises `Broken`, which lists all that are."""
    disk, told, count, failures = Disk(), Told(), 0, list[str]()
    for moment, operation in enumerate(life.operations):
        take(operation, disk, told)
        for way, files in enumerate(disk.crash_in_every_way()):
            count += 1
            try:
                judge(write_image(files, home / "image"), told, life.known)
            except Broken as failure:
                failures.append(f"after operation {moment}, {operation[:2]}, way {way}: {failure}")
    if failures:
        raise Broken("\n".join([f"{len(failures)} of {count}:", *failures]))
    return count


def crash_and_live_on(life: Life, home: Path, random: Random) -> Life:
    """A life from an image on: it may crash while it recovers."""
    return live_on(life, home, life.crash(random))


def live_on(life: Life, home: Path, crashed: tuple[dict[str, bytes], Told, int]) -> Life:
    """A life from this image of another on."""
    files, told, _ = crashed
    write_image(files, home / "disk")
    operations = record_life(home, lives=1)
    return Life(operations=operations, before=files, told=told, known=life.known | list_blocks(operations))


def check_failure(home: Path, *, fail_at: int, how: int) -> bool:
    """One operation of a life fails; whether there was one. Raises `Broken`."""
    shutil.rmtree(home / "disk", ignore_errors=True)
    life = record(home, fail_at=fail_at, how=how)
    told = Told()
    for operation in life.operations:
        if operation.kind == "K":
            told.note(operation.data)
    try:
        judge(home / "disk" / _CHAIN, told, life.known)
    except Broken as failure:
        raise Broken(f"operation {fail_at} failed with {how}: {failure}") from failure
    return sum(operation.kind != "K" for operation in life.operations) >= fail_at


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--failures", type=int, default=100, help="operations that fail, each in three ways")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    home, random = Path(tempfile.mkdtemp(prefix="gridmerit-torn-")), Random(options.seed)
    try:
        life = record(home)
        everywhere = asyncio.run(run(lambda: check_every_moment(life, home)))
        asyncio.run(run(lambda: check_images(life, home, images=options.images // 2, random=random)))
        for _ in range(options.images // 2 // _OF_A_RECOVERY):
            after = crash_and_live_on(life, home, random)
            asyncio.run(run(partial(check_images, after, home, images=_OF_A_RECOVERY, random=random)))
        for number in random.sample(range(1, 200), options.failures):
            for how in FAILURES:
                asyncio.run(run(partial(check_failure, home, fail_at=number, how=how)))
    except Broken as failure:
        print(f"torn: FAILED: {failure}\nwhat it was opened from is in {home}", file=sys.stderr)
        return 1
    shutil.rmtree(home)
    drawn = f"{everywhere} images of every moment, {options.images} at random, half of them of an image being opened"
    print(f"{drawn}; {options.failures} operations failed in three ways: all whole")
    return 0


async def run(call: Callable[[], T]) -> T:
    """Have an event loop about, which the driver needs."""
    return call()


if __name__ == "__main__":
    sys.exit(main())
