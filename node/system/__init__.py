"""The machine under a node: clocks, files, logs, tasks, descriptors, the bounded HTTP listener.

Knows nothing of chains or markets.
"""
