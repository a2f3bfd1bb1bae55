"""LH1, the credit chain: scores, merit and credit as coloured coins.

Start with `contract`, the credit index of Eq. (8) of text 000.
"""
