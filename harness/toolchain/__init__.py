"""The second environment, for conversion, and the scripts that run inside it and are never imported."""
