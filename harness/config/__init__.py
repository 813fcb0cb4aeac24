"""`gate.toml` and the command line's variants: schema, loading, diagnosis with line numbers."""
