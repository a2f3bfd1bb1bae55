"""Strategies of players: what one sees of a period, and the orders that it answers with; some that are built in.

Pure, and advice as `market.game` is: no contract sees it. The same class plays in a live network, which tells it what a
node says, and in the laboratory. Start at `strategy.py`; `docs/strategies.md` shows how to write one.
"""
