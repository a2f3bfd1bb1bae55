"""A private key encrypted as PKCS #8: PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC (RFC 8018), at a chosen cost.

The library that reads these files writes them with a fixed count of rounds, which is too low for what people choose.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PERSONS_ROUNDS = 600_000  # OWASP, Password Storage Cheat Sheet (2023), for PBKDF2-HMAC-SHA256
_KEY_BYTES = 32
_SALT_BYTES = 16
_BLOCK_BYTES = 16
_INTEGER, _OCTETS, _NULL, _OBJECT, _SEQUENCE = 0x02, 0x04, 0x05, 0x06, 0x30
_PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")  # 1.2.840.113549.1.5.12
_HMAC_SHA256 = bytes.fromhex("2a864886f70d0209")  # 1.2.840.113549.2.9
_AES_256_CBC = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42
_LINE = 64


def encrypt_pkcs8(private_der: bytes, passphrase: bytes, *, rounds: int) -> bytes:
    """The PEM of an `EncryptedPrivateKeyInfo` round a `PrivateKeyInfo` in DER."""
    salt, start = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_BLOCK_BYTES)
    key = hashlib.pbkdf2_hmac("sha256", passphrase, salt, rounds, _KEY_BYTES)
    padding = _BLOCK_BYTES - len(private_der) % _BLOCK_BYTES
    encryptor = Cipher(algorithms.AES(key), modes.CBC(start)).encryptor()
    ciphertext = encryptor.update(private_der + bytes([padding]) * padding) + encryptor.finalize()
    derivation = _sequence(
        _der(_OBJECT, _PBKDF2),
        _sequence(
            _der(_OCTETS, salt),
            _der(_INTEGER, rounds.to_bytes(rounds.bit_length() // 8 + 1, "big")),
            _sequence(_der(_OBJECT, _HMAC_SHA256), _der(_NULL, b"")),
        ),
    )
    scheme = _sequence(_der(_OBJECT, _AES_256_CBC), _der(_OCTETS, start))
    algorithm = _sequence(_der(_OBJECT, _PBES2), _sequence(derivation, scheme))
    text = base64.b64encode(_sequence(algorithm, _der(_OCTETS, ciphertext)))
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    head, foot = b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"-----END ENCRYPTED PRIVATE KEY-----"
    return b"\n".join((head, *lines, foot, b""))


def _sequence(*items: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(items))


def _der(tag: int, content: bytes) -> bytes:
    """One item, as long as two bytes can say."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    return bytes([tag, 0x82]) + size.to_bytes(2, "big") + content if size > 0xFF else bytes([tag, 0x81, size]) + content
