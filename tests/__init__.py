"""The tests, in the tree of what they test; `support` is what they share, `processes` are whole real networks."""
