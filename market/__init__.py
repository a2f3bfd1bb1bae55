"""The meaning of transactions: orders, clearing, settlement, credit, and the contracts over ledger state.

May import `ledger`, never `consensus`, `node` or `simulation`; pure functions on integers, no clock, no I/O.
Start at `trading/contract.py` (JY1), then `scheduling/contract.py` (DU1) and `credit/contract.py` (LH1).
"""
