"""Networks on this machine or in containers: parameters, keys, directories and processes.

Everything that makes, starts, watches and mends the nodes of a network; the nodes themselves are `node`.
"""
