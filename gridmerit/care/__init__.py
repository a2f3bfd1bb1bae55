"""The care of one node's directory: backup and restore, looking for damage and mending it, going back, starting anew.

Nothing here changes what a running node holds; what changes a directory takes the lock of its chains first.
"""
