"""Measured claims: each command writes its own section of ``benchmarks/RESULTS.md``."""
