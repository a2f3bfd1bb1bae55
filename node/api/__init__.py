"""The JSON API of a node, both ends: the server, and the typed client.

What is asked of a chain instance is in `node.queries`, and so is the one description of what travels.
"""
