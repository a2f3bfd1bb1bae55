"""Theory: closed forms, each with its source, exact statistics, and the same races drawn by chance.

`registry` makes a formula usable by name, `formulas` are the formulas.
"""
