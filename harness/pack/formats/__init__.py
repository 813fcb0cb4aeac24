"""Test splits as teams have them: one module a family of formats, each row becomes a question with its answer."""
