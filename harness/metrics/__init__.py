"""The catalogue of metrics, and how their numbers become text."""
