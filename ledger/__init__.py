"""What is recorded and what can be proved about it: bytes, hashes, signatures, blocks, state, storage.

The ground floor: imports no other package of this project. Start at `block.py`, then `chain.py`.
"""
