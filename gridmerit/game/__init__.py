"""The report of `gridmerit game`: words, tables and files for what `simulation.game` computes.

A verdict in words follows the numbers; nothing here computes a result. All of it takes numpy, an extra, so that import
it where it is used.
"""
