"""The report of `gridmerit paper`: words, tables and plots for what `simulation.paper` computes.

A verdict in words follows the numbers; nothing here computes a result.
"""
