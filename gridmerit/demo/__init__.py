"""The demonstration: a whole market day on real processes, collected, checked and reported.

`run` plays it, `collect` asks the nodes, `checks` and `report` are pure functions of what was answered.
"""
