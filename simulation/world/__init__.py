"""A world: real chain nodes in virtual time on a seeded network.

`world` owns the peers, `virtual_time` the clock, `links` the network, `invariants` what must hold.
"""
