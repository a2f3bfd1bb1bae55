"""Key files: for their owner's eyes, opened by the right passphrase only, and never overwritten."""

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

from ledger.errors import (
    BadKeyFile,
    ConfigError,
    EmptyPassphrase,
    KeyFilePermissions,
    UnreadableFile,
    UnwritableFile,
    WrongPassphrase,
)
from ledger.signatures import SigningKey
from node.keystore import load_key, load_passphrase, save_key, save_passphrase

KEY = SigningKey(bytes(range(32)))
PASSPHRASE = b"a quiet feeder"


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
