"""Benchmarks: every job beside its rivals, in one interleaved run: ``python -m benchmarks``."""
