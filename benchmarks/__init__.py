"""Benchmarks: each module has `NAME` and `run()`; ``python -m benchmarks`` runs them and keeps the figures."""
