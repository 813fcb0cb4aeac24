"""The conversion pipeline: from the model that a user names to verified artifacts, and their delivery."""
