"""The test vectors are what the code makes, another program finds them right, and no bit of them is idle."""

import ast
import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S

from . import make, verify

FILE = Path(__file__).parents[2] / "docs" / "vectors.json"
DOCUMENT = json.loads(FILE.read_text(encoding="utf-8"))
VECTORS = [(section, place) for section, vectors in DOCUMENT.items() for place in range(len(vectors))]
STRIDE = 16  # bytes from one flipped bit of a long string to the next


def run(file):
    """The other program, on its own, as somebody would run it who has nothing of ours installed."""
    command = [sys.executable, "-I", verify.__file__, str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def places_of(value):
    """(container, key) of every leaf."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict | list):
            yield from places_of(item)
        elif item is not None:
            yield value, key


def flips_of(item):
    """The leaf with one bit changed, in turn at several places of a long string of bytes."""
    if isinstance(item, int):
        yield item ^ 1
        return
    try:
        raw = bytes.fromhex(item)
    except ValueError:
        raw = b""
    if not raw:
        yield item[:-1] + ("x" if item[-1:] != "x" else "y")
        return
    for at in sorted({*range(0, len(raw), STRIDE), len(raw) - 1}):
        yield (raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).hex()


def changed(vector):
    """Every change of one bit, each in a copy."""
    holder = [deepcopy(vector)]
    for container, key in places_of(holder):
        original = container[key]
        for item in flips_of(original):
            container[key] = item
            yield holder[0]
        container[key] = original


def is_noticed(section, vector):
    try:
        verify.SECTIONS[section](vector)
    except Exception:
        return True
    return False


@pytest.fixture(autouse=True)
def _keys():
    assert verify.verify(DOCUMENT) == len(VECTORS)


def test_the_file_is_what_the_code_makes():
    assert FILE.read_text(encoding="utf-8") == make.render(), "python -m tests.vectors.make > docs/vectors.json"


def test_a_program_without_our_packages_finds_every_vector_right():
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(Path(verify.__file__).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported == {"functools", "hashlib", "json", "sys", "decimal", "cryptography"}
    answer = run(FILE)
    assert (answer.returncode, answer.stdout) == (0, f"{len(VECTORS)} vectors hold\n"), answer.stderr


def test_that_program_names_the_vector_that_is_wrong(tmp_path):
    document = deepcopy(DOCUMENT)
    vote = document["votes"][0]
    vote["raw"] = vote["raw"][:-1] + ("0" if vote["raw"][-1] != "0" else "1")
    (tmp_path / "vectors.json").write_text(json.dumps(document))
    answer = run(tmp_path / "vectors.json")
    assert answer.returncode == 1
    assert "votes[0]" in answer.stderr


@pytest.mark.parametrize(("section", "place"), VECTORS, ids=[f"{section}-{place}" for section, place in VECTORS])
def test_a_flipped_bit_is_noticed(section, place):
    """Of what must be refused some bit matters, for most changes leave it as bad as it was; of all else every bit."""
    vector = DOCUMENT[section][place]
    found = [is_noticed(section, other) for other in changed(vector)]
    assert found
    assert any(found) if section in ("refused_keys", "refused_encodings") else all(found)


def byte_strings_of(value, size):
    """Those of a size inside a decoded value, as hexadecimal digits."""
    if isinstance(value, list):
        return {found for item in value for found in byte_strings_of(item, size)}
    return {value.hex()} if isinstance(value, bytes) and len(value) == size else set()


SIGNED = ("transactions", "blocks", "votes", "certificates", "ballots", "batches", "signed")


@pytest.mark.parametrize(("section", "place"), [one for one in VECTORS if one[0] in SIGNED])
def test_a_wrong_signature_is_noticed_though_it_stands_alike_in_every_field(section, place):
    vector = DOCUMENT[section][place]
    raw = verify.decode(bytes.fromhex(vector["raw"])) if "raw" in vector else [bytes.fromhex(vector["signature"])]
    signatures = byte_strings_of(raw, 64)
    assert signatures
    text = json.dumps(vector)
    for signature in signatures:
        for wrong in flips_of(signature):
            assert is_noticed(section, json.loads(text.replace(signature, wrong))), signature
