"""The parts of `benchmarks/scale.py`, one module each."""
