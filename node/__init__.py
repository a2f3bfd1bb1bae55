"""The peer: CLI, HTTP, gossip, storage, sealing. I/O lives here, except in the pure core.

May import every package below it. Start at `core.py` (what a node decides), then `runtime.py` (how it is done).
"""
