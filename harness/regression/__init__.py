"""Is one thing slower than another, and what did a change cost: pairs in turn, baselines, trends."""
