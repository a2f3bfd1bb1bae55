"""The laboratory: peers in virtual time on a seeded network.

Drives the same `node.chain.node.ChainNode` as the real runtime; of `node` it imports the core alone.
Start at `world/world.py`.
"""
