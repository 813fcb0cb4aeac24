"""Whether a graph is its source, rounded: logits, weights, rotary tables, settings."""
