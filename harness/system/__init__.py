"""Child processes and the content-addressed store: what the system gives to every room."""
