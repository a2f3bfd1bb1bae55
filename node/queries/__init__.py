"""Answers of a chain instance: pure readings of its state and its own store.

`answers` is the one description of what the JSON API carries, for both of its ends.
"""
