"""The record and its proofs: bytes, hashes, signatures, blocks, state, storage.

The ground floor: imports no other package of this project. Start at `block.py`, then `chain.py`.
"""
