"""From an artifact or a registered model to a session that answers prompts."""
