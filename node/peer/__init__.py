"""Peers over HTTP: their members, their addresses, the queues for them, and the scores of their conduct.

A connection proves a member's key before a byte of it is believed.
"""
