"""From an artifact to a model that Foundry Local serves, and back to nothing left behind."""
