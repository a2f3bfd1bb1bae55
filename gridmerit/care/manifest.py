"""The manifest of a backup, `backup.json`: of which chains it is, how far they had come, and a hash of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gridmerit.errors import BackupDamaged, BackupFromLater, NotABackup
from ledger.errors import UnreadableFile
from node.system.files import read_text

MANIFEST = "backup.json"
FORMAT = 1
_MAX_BYTES = 256_000_000
_CHUNK = 1 << 20

OnBytes = Callable[[int, int], None]
"""Called with the bytes done and those to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEntry:
    """One chain as it was backed up; `signed_height` is how far its key had signed by then."""

    name: str
    chain_id: str
    height: int
    head: str
    final_height: int
    signed_height: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file by its path below the backup."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of `backup.json`. `lacking` are files that the node needs and that are not in the backup."""

    version: str  # of gridmerit
    made_ms: int
    has_keys: bool
    lacking: tuple[str, ...]
    chains: tuple[ChainEntry, ...]
    files: tuple[FileEntry, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def save_manifest(manifest: Manifest, directory: Path) -> None:
    """Raises `OSError`."""
    document = {"format": FORMAT, **asdict(manifest)}
    text = json.dumps({**document, "digest": _digest(document)}, indent=2)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load_manifest(directory: Path) -> Manifest:
    """Raises `NotABackup`, `BackupFromLater`, or `BackupDamaged` where it is not what was written."""
    file = directory / MANIFEST
    try:
        document = json.loads(read_text(file, _MAX_BYTES))
    except UnreadableFile as error:
        raise NotABackup(directory=directory, detail=str(error)) from None
    except ValueError as error:
        raise BackupDamaged(file=file, detail=f"it is no JSON: {error}") from None
    if not isinstance(document, dict) or "digest" not in document:
        raise BackupDamaged(file=file, detail="it is no manifest")
    digest = document.pop("digest")
    if document.get("format") != FORMAT and isinstance(document.get("format"), int):
        raise BackupFromLater(file=file, actual=document["format"], expected=FORMAT)
    if digest != _digest(document):
        raise BackupDamaged(file=file, detail="its digest is another one")
    return _read(document)


def check_files(manifest: Manifest, directory: Path, tell: OnBytes) -> None:
    """Check that the backup holds every file of its manifest, and no other. Raises `BackupDamaged`."""
    known = {file.path for file in manifest.files} | {MANIFEST}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in known:
            raise BackupDamaged(file=path, detail="it is not in the manifest")
    done = 0
    for file in manifest.files:
        done += _check_file(directory / file.path, file)
        tell(done, manifest.size)


def copy_file(source: Path, target: Path, path: str) -> FileEntry:
    """Copy a file's bytes, and describe what was written. Raises `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    hasher, size = hashlib.sha256(), 0
    with target.open("xb") as stream:
        target.chmod(0o600)
        for chunk in _read_chunks(source):
            stream.write(chunk)
            hasher.update(chunk)
            size += len(chunk)
    return FileEntry(path=path, size=size, sha256=hasher.hexdigest())


def describe_file(file: Path, path: str) -> FileEntry:
    """The entry of a file that stands where it belongs. Raises `OSError`."""
    hasher, size = hashlib.sha256(), 0
    for chunk in _read_chunks(file):
        hasher.update(chunk)
        size += len(chunk)
    return FileEntry(path=path, size=size, sha256=hasher.hexdigest())


def _check_file(file: Path, expected: FileEntry) -> int:
    try:
        found = describe_file(file, expected.path)
    except FileNotFoundError:
        raise BackupDamaged(file=file, detail="it is missing") from None
    except OSError as error:
        raise BackupDamaged(file=file, detail=error.strerror or str(error)) from None
    if found.size != expected.size:
        raise BackupDamaged(file=file, detail=f"it has {found.size} bytes, not {expected.size}")
    if found != expected:
        raise BackupDamaged(file=file, detail="its hash is another one")
    return found.size


def _read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _read(document: dict[str, Any]) -> Manifest:
    """The manifest of a document whose digest holds. Raises `BackupDamaged` for paths that lead elsewhere."""
    files = tuple(FileEntry(**file) for file in document["files"])
    for file in files:
        if file.path.startswith("/") or ".." in PurePosixPath(file.path).parts:
            raise BackupDamaged(file=file.path, detail="its path leads out of the backup")
    return Manifest(
        version=document["version"],
        made_ms=document["made_ms"],
        has_keys=document["has_keys"],
        lacking=tuple(document["lacking"]),
        chains=tuple(ChainEntry(**chain) for chain in document["chains"]),
        files=files,
    )
