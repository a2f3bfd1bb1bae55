"""The driver of a chain instance: events in one at a time, actions performed strictly in order.

Threads, queues, the search for seals and the signing record on disk; what is decided is decided in `node.chain`.
"""
