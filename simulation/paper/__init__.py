"""The results of text 000, computed anew.

Start with `reproduce`.
"""
