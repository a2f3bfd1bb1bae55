"""One asset ledger for power claims, timed currency and securities: series that are issued, lots that are held.

Imports `ledger` and `market.errors`. Start with `contract.py`; what a class of assets adds is a `Policy` of its own.
"""
