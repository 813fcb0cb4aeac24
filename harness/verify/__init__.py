"""Is the graph the source, rounded, and nothing more: logits, weights, rotary tables."""
