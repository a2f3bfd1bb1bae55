"""The right to add the next block, and the moment it is final: pure state machines, no clock, no socket.

May import `ledger`, never `market`, `node` or `simulation`.
Start at `engine.py`, then `poca.py`; the rules they apply: `credit_target.py`, `retarget.py`, `quorum.py`.
"""
