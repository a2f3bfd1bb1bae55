"""Keys, certificates and passphrases of a node, and TLS from them.

Nothing secret leaves this package in a log, an error or a process's arguments.
"""
