"""The patience of a test: how long it waits before it has failed, on however busy a machine."""

PATIENCE_S = 120.0
