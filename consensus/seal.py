"""Placeholder until the native search lands (the owner of this file replaces it whole)."""
import hashlib

NATIVE = False


def active_path() -> str:
    return "hashlib"


def seal_hash(root: bytes, nonce: int) -> bytes:
    return hashlib.sha256(root + nonce.to_bytes(8, "big")).digest()


def search(root, target, *, start=0, count, threads=1, stop=None):
    base = hashlib.sha256(root)
    bound = target.to_bytes(32, "big")
    for nonce in range(start, start + count):
        if nonce & 0x3FF == 0 and stop is not None and stop[0]:
            return None
        h = base.copy()
        h.update(nonce.to_bytes(8, "big"))
        if h.digest() <= bound:
            return nonce
    return None
