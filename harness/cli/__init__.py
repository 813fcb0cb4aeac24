"""The console script, one module a command."""
