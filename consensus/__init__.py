"""The right to add the next block, and the moment it is final: pure state machines, no clock, no socket.

May import `ledger`, never `market`, `node` or `simulation`.
Start at `engine.py`, then `poca/engine.py`; the rules they apply: `poca/credit_target.py`, `poca/retarget.py`,
`quorum.py`.
"""
