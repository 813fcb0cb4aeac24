"""A model as it comes: folder, hub id or adapter; its weights, reference logits and session."""
