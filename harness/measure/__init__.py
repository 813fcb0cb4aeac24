"""One module a measurement: sessions and a domain pack in, a `Measurement` of estimates out.

Nothing is imported here: a measuring child process must hold only what it measures.
"""
