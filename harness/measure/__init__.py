"""Sessions and a domain pack in, numbers out.

Nothing is imported here: a measuring child process must hold only what it measures.
"""
