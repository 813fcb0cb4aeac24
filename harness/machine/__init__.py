"""The machine that a measurement is made on: what it is, and whether another one's numbers may stand beside its own."""
