"""From a conversation to tokens: chat templates, PromptTemplate, and whether every way agrees."""
