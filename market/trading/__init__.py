"""JY1, the trading chain: orders, gates, clearing, trades and their settlement.

Start with `contract`: what each kind of transaction asks for, and the rules it has to meet.
"""
