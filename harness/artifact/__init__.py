"""Converted models: inspection of their graphs, and the store that caches them."""
