"""Players of a market: what they plan, order and meter, and the keys they do it with.

`agents` acts through a node's API alone, as any member would.
"""
