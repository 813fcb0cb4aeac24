"""Foundry Local: a private host, registration, sessions, the cache-folder route, the doctor."""
