"""A converted folder: what its graph really is, and the store that keeps it."""
