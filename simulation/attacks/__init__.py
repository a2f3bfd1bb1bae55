"""Attackers: policies with the port of `ChainNode`, wrapped round the honest core.

One policy, two drivers: the world of the laboratory, and a real process of a disposable network. A policy sees what
its node would see and decides what its node says; it can forge nothing that its key cannot sign.
"""
