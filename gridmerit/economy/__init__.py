"""A week of the economy of texts 003 and 004, from real energy: members, what they do, and the page about it.

Start with `run.py`; `cast.py` says who is there and `fast.py` what everybody does.
"""
