"""Key files: for their owner's eyes, opened by the right passphrase only, and never overwritten."""

import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ledger.errors import ConfigError, UnreadableFile, UnwritableFile
from ledger.signatures import SigningKey
from node.credentials.keystore import (
    generate_passphrase,
    is_for_us_alone,
    load_key,
    load_passphrase,
    save_key,
    save_passphrase,
)
from node.credentials.pkcs8 import encrypt_pkcs8
from node.errors import BadKeyFile, EmptyPassphrase, KeyFilePermissions, WrongPassphrase

KEY = SigningKey(bytes(range(32)))
PASSPHRASE = b"a quiet feeder"
ROOT_DIRECTORY = Path(__file__).parents[3]


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "key.pem"
    save_key(file, KEY, PASSPHRASE)
    return file


def put(file, data):
    file.write_bytes(data)
    file.chmod(0o600)
    return file


def test_a_key_comes_back_under_its_passphrase(key_file):
    assert load_key(key_file, PASSPHRASE).seed == KEY.seed


def test_the_file_is_standard_encrypted_pkcs8(key_file):
    pem = key_file.read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert KEY.seed not in pem
    private = load_pem_private_key(pem, PASSPHRASE)
    assert isinstance(private, Ed25519PrivateKey)
    assert private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()) == KEY.seed


def test_two_files_of_one_key_differ(key_file, tmp_path):
    save_key(tmp_path / "again.pem", KEY, PASSPHRASE)
    assert (tmp_path / "again.pem").read_bytes() != key_file.read_bytes()


def test_only_the_owner_may_read_it(key_file):
    assert key_file.stat().st_mode & 0o777 == 0o600


# --- what a guess costs --------------------------------------------------------------------------------


def parse_der(data):
    """Nested lists of (tag, content): enough ASN.1 for a key file."""
    items, at = [], 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        content = data[at : at + size]
        assert len(content) == size
        items.append(parse_der(content) if tag & 0x20 else (tag, content))
        at += size
    return items


def read_kdf(file):
    """(object identifiers of scheme, derivation, its hash and the cipher, rounds) of an encrypted key."""
    text = b"".join(line for line in file.read_bytes().splitlines() if not line.startswith(b"-----"))
    [[[scheme, [[derivation, [_salt, (_, rounds), [prf, _null]]], [cipher, _iv]]], _]] = parse_der(b64decode(text))
    return [identifier.hex() for _, identifier in (scheme, derivation, prf, cipher)], int.from_bytes(rounds, "big")


def test_a_persons_passphrase_is_stretched_as_is_recommended_today(key_file):
    identifiers, rounds = read_kdf(key_file)
    assert identifiers == [
        "2a864886f70d01050d",  # PBES2
        "2a864886f70d01050c",  # PBKDF2
        "2a864886f70d0209",  # HMAC-SHA-256
        "60864801650304012a",  # AES-256-CBC
    ]
    assert rounds >= 600_000


def test_a_generated_passphrase_needs_no_stretching(tmp_path):
    passphrase = generate_passphrase()
    assert len(bytes.fromhex(passphrase.decode())) == 32
    save_key(tmp_path / "key.pem", KEY, passphrase)
    assert read_kdf(tmp_path / "key.pem")[1] < 10_000
    assert load_key(tmp_path / "key.pem", passphrase).seed == KEY.seed


@pytest.mark.parametrize("passphrase", [b"0" * 63, b"0" * 65, b"0" * 63 + b"G", b"0" * 63 + b"A", b"0" * 64 + b"\n"])
def test_what_merely_looks_generated_is_stretched(tmp_path, passphrase):
    save_key(tmp_path / "key.pem", KEY, passphrase)
    assert read_kdf(tmp_path / "key.pem")[1] >= 600_000


def test_a_file_from_before_opens(tmp_path):
    private = Ed25519PrivateKey.from_private_bytes(KEY.seed)
    file = put(
        tmp_path / "k", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"old"))
    )
    assert read_kdf(file)[1] == 2_048
    assert load_key(file, b"old").seed == KEY.seed


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 90, 150, 230, 300, 5_000])
def test_any_length_is_encoded_as_a_decoder_wants_it(size):
    pem = encrypt_pkcs8(bytes(size), b"x", rounds=1)
    assert max(map(len, pem.splitlines())) <= 64
    [[_, (_, ciphertext)]] = parse_der(b64decode(b"".join(pem.splitlines()[1:-1])))
    assert len(ciphertext) == (size // 16 + 1) * 16


# --- who may read it -----------------------------------------------------------------------------------


ROOT, US, THEM, OUR_GROUP, THEIR_GROUP = 0, 1_000, 1_001, 1_000, 1_001


@pytest.mark.parametrize(
    ("mode", "owner", "group", "user", "is_fine"),
    [
        (0o600, US, OUR_GROUP, US, True),
        (0o400, US, OUR_GROUP, US, True),
        (0o440, ROOT, OUR_GROUP, US, True),  # a Kubernetes secret with fsGroup, a compose secret with gid
        (0o640, ROOT, OUR_GROUP, US, True),
        (0o400, ROOT, ROOT, ROOT, True),
        (0o600, US, OUR_GROUP, ROOT, True),  # root looks at a member's directory
        (0o440, US, OUR_GROUP, US, False),  # ours: we could, and should, take it back
        (0o440, THEM, OUR_GROUP, US, False),
        (0o440, ROOT, THEIR_GROUP, US, False),
        (0o440, ROOT, ROOT, ROOT, False),
        (0o460, ROOT, OUR_GROUP, US, False),
        (0o450, ROOT, OUR_GROUP, US, False),
        (0o444, ROOT, OUR_GROUP, US, False),
        (0o442, ROOT, OUR_GROUP, US, False),
        (0o441, ROOT, OUR_GROUP, US, False),
        (0o604, US, OUR_GROUP, US, False),
    ],
)
def test_a_group_may_read_what_root_has_mounted_for_it(mode, owner, group, user, is_fine):
    assert is_for_us_alone(mode, owner, group, user=user, groups={OUR_GROUP, 7}) is is_fine


OPEN = """
import os, sys
from ledger.errors import GridmeritError
from node.credentials.keystore import load_passphrase
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
try:
    print(load_passphrase(sys.argv[1]).decode())
except GridmeritError as error:
    print(error.code, error)
"""


def open_as_container(file, mode):
    """Mount a secret as root's for group 4321 and read it as user 4321; without root, all of it is the user's own."""
    owner = os.geteuid()
    put(file, b"secret")
    if owner == 0:
        os.chown(file, 0, 4_321)
    file.chmod(mode)
    command = [sys.executable, "-P", "-c", OPEN, file, "4321"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT_DIRECTORY)}, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def mount():
    """A directory that every user can enter, unlike those that pytest makes."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def test_a_mounted_secret_is_read_and_one_that_all_can_read_is_told_what_helps(mount):
    is_root = os.geteuid() == 0
    mounted = open_as_container(mount / "mounted", 0o440)
    assert mounted == "secret" if is_root else mounted.startswith("KeyFilePermissions")
    told = open_as_container(mount / "open", 0o444)
    remedy = "mount it as root's with mode 0440 and group 4321, or as user 4321's with mode 0400"
    assert told.startswith("KeyFilePermissions")
    assert told.endswith(remedy if is_root else f"chmod 600 {mount / 'open'}")


def test_a_secret_that_only_root_may_read_is_told_how_to_mount_it(mount):
    is_root = os.geteuid() == 0
    told = open_as_container(mount / "closed", 0o400 if is_root else 0o200)
    remedy = "mount it as root's with mode 0440 and group 4321, or as user 4321's with mode 0400"
    assert told.startswith("KeyFileForbidden")
    assert told.endswith(f"may not read it: {remedy if is_root else 'chmod 600 ' + str(mount / 'closed')}")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_file_that_others_could_touch_is_refused(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(KeyFilePermissions, match=f"has mode {mode:04o}.*chmod 600"):
        load_key(key_file, PASSPHRASE)


def test_a_key_that_is_read_only_is_fine(key_file):
    key_file.chmod(0o400)
    assert load_key(key_file, PASSPHRASE).address == KEY.address


@pytest.mark.parametrize("passphrase", [b"", b"a quiet feede", b"A quiet feeder", b"x" * 2_000])
def test_another_passphrase_does_not_open_it(key_file, passphrase):
    with pytest.raises(WrongPassphrase) as caught:
        load_key(key_file, passphrase)
    assert caught.value.exit_code == 3
    assert passphrase.decode() not in str(caught.value) or not passphrase


def test_a_wrong_passphrase_whose_padding_is_right_by_chance_is_wrong_all_the_same(key_file):
    """Contents that a wrong passphrase leaves end like right ones once in 256 times."""
    encryption = BestAvailableEncryption(PASSPHRASE)  # of few rounds
    private = Ed25519PrivateKey.from_private_bytes(KEY.seed)
    put(key_file, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    for number in range(1_500):
        with pytest.raises(WrongPassphrase):
            load_key(key_file, b"wrong %d" % number)


def test_a_key_is_never_overwritten(key_file):
    before = key_file.read_bytes()
    with pytest.raises(UnwritableFile, match="never overwritten"):
        save_key(key_file, KEY, PASSPHRASE)
    assert key_file.read_bytes() == before


def test_a_key_is_never_saved_without_a_passphrase(tmp_path):
    with pytest.raises(EmptyPassphrase):
        save_key(tmp_path / "key.pem", KEY, b"")
    assert not (tmp_path / "key.pem").exists()


def test_an_unencrypted_key_is_refused(tmp_path):
    private = Ed25519PrivateKey.from_private_bytes(KEY.seed)
    file = put(tmp_path / "k", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(BadKeyFile, match="BEGIN ENCRYPTED"):
        load_key(file, PASSPHRASE)


def test_a_key_of_another_kind_is_refused(tmp_path):
    encryption = BestAvailableEncryption(PASSPHRASE)
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    with pytest.raises(BadKeyFile, match="not Ed25519"):
        load_key(put(tmp_path / "k", pem), PASSPHRASE)


@pytest.mark.parametrize("keep", [0, 10, 60, 120, 200])
def test_a_damaged_file_is_a_bad_key_file(key_file, keep):
    put(key_file, key_file.read_bytes()[:keep])
    with pytest.raises(BadKeyFile):
        load_key(key_file, PASSPHRASE)


def test_damage_inside_is_noticed(key_file):
    pem = bytearray(key_file.read_bytes())
    pem[100] ^= 1
    put(key_file, bytes(pem))
    with pytest.raises((BadKeyFile, WrongPassphrase)):
        load_key(key_file, PASSPHRASE)


def test_what_is_not_a_file_is_unreadable(tmp_path):
    with pytest.raises(UnreadableFile, match="No such file"):
        load_key(tmp_path / "absent", PASSPHRASE)
    with pytest.raises(UnreadableFile):
        load_key(tmp_path, PASSPHRASE)
    with pytest.raises(UnreadableFile, match="larger than"):
        load_key(put(tmp_path / "big", b"x" * 20_000), PASSPHRASE)
    with pytest.raises(UnwritableFile):
        save_key(tmp_path / "absent" / "key.pem", KEY, PASSPHRASE)


def test_a_passphrase_comes_back_from_its_file(tmp_path):
    save_passphrase(tmp_path / "passphrase", PASSPHRASE)
    assert load_passphrase(tmp_path / "passphrase") == PASSPHRASE
    assert (tmp_path / "passphrase").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"secret", b"secret\n", b"secret\r\n", b"secret\nand a note\n"])
def test_a_passphrase_is_the_first_line(tmp_path, text):
    assert load_passphrase(put(tmp_path / "p", text)) == b"secret"


def test_a_bad_passphrase_file_is_told(tmp_path):
    with pytest.raises(EmptyPassphrase):
        load_passphrase(put(tmp_path / "empty", b"\n"))
    with pytest.raises(EmptyPassphrase):
        save_passphrase(tmp_path / "p", b"")
    file = put(tmp_path / "open", b"secret")
    file.chmod(0o644)
    with pytest.raises(KeyFilePermissions):
        load_passphrase(file)
    assert issubclass(KeyFilePermissions, ConfigError)
