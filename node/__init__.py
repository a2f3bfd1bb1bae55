"""The peer, and nothing else: a chain instance and what drives it, peers, an API, proofs, keys, the machine below.

Start at `node/chain/node.py` (what a peer decides), then `runtime.py` (how it is done). Sees neither the laboratory nor
the program around it.
"""
