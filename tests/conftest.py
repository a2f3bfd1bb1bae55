"""Settings for every test: hypothesis draws the same examples on every machine, and nothing is timed."""

from hypothesis import settings

settings.register_profile("gridmerit", deadline=None, derandomize=True)
settings.load_profile("gridmerit")
