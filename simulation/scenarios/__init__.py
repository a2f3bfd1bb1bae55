"""Scenarios of the laboratory: a module for each family, listed in `simulation.experiments.scenario`.

A scenario builds its world or its numbers from settings and a seed alone, and says what theory expects of them.
"""
