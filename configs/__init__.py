"""Data, not code: chain parameters, node settings, scenarios and profiles."""
