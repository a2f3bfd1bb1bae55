"""Experiments: scenarios, sweeps of settings, their trials, results and estimates.

Pure but for the drivers: `runner`, `batches`, `executors`, `results`, `provenance`.
"""
