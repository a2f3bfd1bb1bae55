"""Practical Byzantine fault tolerance in block form: one agreement per height, on hashes of blocks.

`replica` is the state machine, `validators` what its messages must prove, `record` what survives a crash.
"""
