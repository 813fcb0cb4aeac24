"""Is an answer right, and has it the form that the caller can use."""
