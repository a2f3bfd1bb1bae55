"""What the laboratory can run: each module holds the scenarios of one family, listed in `simulation.scenario`.

A scenario builds its world or its numbers from settings and a seed alone, and says what theory expects of them.
"""
