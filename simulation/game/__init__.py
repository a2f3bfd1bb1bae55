"""The experiment of text 001 on a day's profile: the game solved hour by hour, and the same hours traded otherwise.

Pure, and in floats. `experiment` and `markets` take numpy, an extra, so that import them where they are used. Start at
`experiment.py`, then `markets.py`; `figures.py` draws the paper's.
"""
