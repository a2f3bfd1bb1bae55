"""Players of a market: what they plan, order and meter, and the keys they do it with.

`agents` acts through a node's API alone, as any member would. `Strategy` is the class of a player's own way to trade.
"""

from market.orders import Side
from market.strategies.storage import Storage
from market.strategies.strategy import Act, Cancel, Quote, Strategy
from market.strategies.view import View

__all__ = ["Act", "Cancel", "Quote", "Side", "Storage", "Strategy", "View"]
