"""Peers over HTTP: who they are, where they are, what waits for them, and what their conduct has cost them.

A connection proves a member's key before a byte of it is believed.
"""
