"""Limit and estimate in, verdict out: pass, fail, inconclusive, no data."""
