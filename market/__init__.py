"""The meaning of transactions: orders, clearing, settlement, credit, and the contracts over ledger state.

May import `ledger`, never `consensus`, `node` or `simulation`; pure functions on integers, no clock, no I/O.
Start at `period.py`, then `orders.py`, `clearing.py`, `settlement.py` and `credit.py`.
"""
