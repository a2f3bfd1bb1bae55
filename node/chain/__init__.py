"""The pure peer: one chain instance, driven by `step(event, now_ms) -> actions`.

`node` is the core, `events` and `messages` its two languages; no clock, no socket, no file, no task. The simulator
and the driver run the same code.
"""
